"""Figures that several parts need are made in one place; whoever makes one again breaks a test here."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.offline import run_offline
from policies.facts.prices import on_demand_usd_per_hour
from policies.graph import Resource
from policies.rules.cost.burn_ceiling import ceiling_charges
from rehearsal.karpenter.offers import CloudMarket, instance_types
from sizing.catalogue import load_catalogue
from sizing.cost.bill import bill_of, disk_usd_per_hour
from sizing.cost.spot_interruptions import spot_outlook
from sizing.nodes.pools import fleet_usd_per_hour, pools_of, split_nodes
from sizing.plan import Disk, Replicas, StartUp, VectorStorePlan
from sizing.units import HOURS_PER_MONTH

ROOT = Path(__file__).resolve().parent.parent
CATALOGUE = load_catalogue()
SOLD = [(one, region) for one in CATALOGUE.all_instances if one.gpus for region in sorted(one.on_demand_usd_per_hour)]
START = StartUp(node_s=60, image_pull_s=60, weights_load_s=120, compile_s=60, warm_up_s=60)


def parsed(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of the syntax trees under ``folders``, with its file."""
    for path in itertools.chain.from_iterable(sorted((ROOT / folder).rglob("*.py")) for folder in folders):
        for node in ast.walk(ast.parse(path.read_text())):
            yield path.relative_to(ROOT).as_posix(), node


def reads(node: ast.AST, *attributes: str) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr in attributes for one in ast.walk(node))


@pytest.mark.parametrize("position", range(len(SOLD)))
def test_plan_bill_outlook_policy_and_rehearsal_have_one_price_of_each_type_in_each_region(position: int) -> None:
    instance, region = SOLD[position]
    offer = instance.offer(region)
    assert 0 < offer.spot_usd_per_hour <= offer.on_demand_usd_per_hour
    assert offer.on_demand_usd_per_hour == on_demand_usd_per_hour(offer.instance_type, region)
    split = split_nodes(Replicas(floor=0, expected=1, ceiling=1), 1, 1.0)
    (pool,) = pools_of(
        "m", ("m",), CATALOGUE.gpu(instance.gpu), split, (offer,), zones=offer.zone_ids[:1],
        disk=Disk(size_gib=100, iops=3000, throughput_mib_per_s=125),
    )  # fmt: skip
    planned = fleet_usd_per_hour(split, (offer,)).expected
    billed = bill_of([], [pool], None, region, CATALOGUE)[0].usd_per_hour.expected
    outlook = spot_outlook([pool], Replicas(floor=0, expected=1, ceiling=1), 1, START)
    assert outlook is not None
    on_spot = offer.on_demand_usd_per_hour - outlook.saving_usd_per_hour
    market = CloudMarket(catalogue=CATALOGUE, region=region)
    paid = {
        offering["Price"]
        for one in instance_types(market)
        if one["name"] == instance.instance_type
        for offering in one["offerings"]
        if {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"]} in offering["Requirements"]
    }
    assert (planned, billed, on_spot) == pytest.approx((offer.spot_usd_per_hour,) * 3)
    assert paid <= {offer.spot_usd_per_hour}


def test_only_the_catalogue_makes_a_spot_price() -> None:
    """A seen price, the margin, a discount, a fallback or a factor on a price: nothing of it anywhere else."""
    found = []
    for path, node in parsed("sizing", "policies", "rehearsal", "infra", "cli", "components"):
        if path == "sizing/catalogue/hardware.py":
            continue
        constant = isinstance(node, ast.Constant) and node.value in {"volatility_margin", "family_discount"}
        seen = isinstance(node, ast.Attribute) and node.attr == "spot_price" and path != "sizing/catalogue/document.py"
        by_zone = isinstance(node, ast.Subscript | ast.Call) and _looks_up(node)
        chosen = (isinstance(node, ast.BoolOp) and reads(node, "spot_usd_per_hour")) or (
            isinstance(node, ast.IfExp) and path != "sizing/plan/__init__.py" and reads(node, "spot_usd_per_hour")
        )
        bounded = (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"min", "max"}
            and reads(node, "spot_usd_per_hour")
        )  # fmt: skip
        scaled = (
            isinstance(node, ast.BinOp) and reads(node, "spot_usd_per_hour")
            and (isinstance(node.left, ast.Constant) or isinstance(node.right, ast.Constant))
        )  # fmt: skip
        if constant or seen or by_zone or chosen or bounded or scaled:
            found.append(f"{path}:{getattr(node, 'lineno', 0)}")
    assert found == []


def _looks_up(node: ast.Subscript | ast.Call) -> bool:
    """Tell whether the prices of an instance type are looked up by region or zone."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "spot_usd_per_hour"
    called = node.func
    return (
        isinstance(called, ast.Attribute)
        and called.attr in {"get", "values", "items"}
        and reads(called.value, "spot_usd_per_hour")
    )


def test_nothing_reads_a_figure_back_out_of_an_explanation() -> None:
    """A plan's figures are rounded for readers and may be renamed: what a decision needs is a typed field.

    So whoever takes the figures of a plan or an estimate writes them all into a document, and does nothing else.
    """
    taken: set[str] = set()
    written: set[str] = set()
    for path, node in parsed("sizing", "infra", "policies", "rehearsal", "components", "cli"):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "figure_documents":
            written.add(_place(path, node.args[0]))
        elif isinstance(node, ast.Attribute) and node.attr == "figures" and isinstance(node.ctx, ast.Load):
            taken.add(_place(path, node))
    printed = {place for place in taken if place.startswith("cli/render/plan_page.py:")}  # the page shows all
    assert taken - written - printed == set()


def _place(path: str, node: ast.expr) -> str:
    return f"{path}:{node.lineno}:{node.col_offset}"


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_ceilings_of_plan_and_policy_differ_by_named_items_only(stack: str) -> None:
    """Each recomputes what the other says; what a rule cannot see in resources is on this list, and nothing else."""
    graph = run_offline(stack)
    assert graph.plan is not None
    plan, region = graph.plan, graph.plan.region
    resources = [Resource(type=one.type, name=one.name, urn=one.urn, props=one.props) for one in graph.resources]
    charges, violations = ceiling_charges(resources)
    assert violations == []

    def price(name: str) -> float:
        return CATALOGUE.price(name, region)

    lines = {line.name: line.usd_per_hour.ceiling * HOURS_PER_MONTH for line in plan.bill}
    carried = sum(model.weights_bytes for model in plan.models) / 1e9
    only_planned = {
        "transfer between zones": lines["transfer between zones"],
        "transfer to the internet": lines.get("transfer to the internet", 0.0),
        "capacity units": lines["load balancer"] - price("network_load_balancer_usd_per_hour") * HOURS_PER_MONTH,
        "weights": carried * (price("s3_standard_usd_per_gb_month") + price("nat_gateway_usd_per_gb")),
        "alarms on models": 2 * len(plan.models) * price("cloudwatch_alarm_usd_per_month"),
        "secrets": 2 * price("secret_usd_per_month"),
        "snapshots": _snapshots_usd_per_month(plan.vector_store, price("s3_standard_usd_per_gb_month")),
    }
    disks = {
        pool.name: disk_usd_per_hour(pool.disk, region, CATALOGUE) for pool in plan.pools if pool.kind == "managed"
    }
    floors = {pool.name: pool.floor_instances for pool in plan.pools if pool.kind == "managed"}
    dearest = sum(floors[name] * (max(disks.values()) - disk) for name, disk in disks.items())
    only_ruled = {
        "alarm on fast burn": price("cloudwatch_alarm_usd_per_month"),
        "disks of node groups at the dearest launch template": dearest * HOURS_PER_MONTH,
    }
    ruled = sum(one.usd_per_hour for one in charges) * HOURS_PER_MONTH
    planned = plan.burn_usd_per_hour.ceiling * HOURS_PER_MONTH
    assert planned - ruled == pytest.approx(sum(only_planned.values()) - sum(only_ruled.values()), abs=0.01)


def _snapshots_usd_per_month(store: VectorStorePlan | None, usd_per_gb: float) -> float:
    """Eight days of a third of each disk."""
    return 0.0 if store is None else 8 * store.replicas * store.disk_gib / 3 * usd_per_gb


def test_the_core_is_handed_its_catalogue_and_loads_none() -> None:
    """A caller with another catalogue gets its machines, zones and prices everywhere; rules of vLLM have no prices."""
    loading = {
        f"{path}:{node.lineno}"
        for path, node in parsed("sizing")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "load_catalogue"
    }
    assert loading == set()
