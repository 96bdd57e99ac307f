"""Every line of the bill can be recomputed by hand from the plan and the price list."""

from __future__ import annotations

import dataclasses

import pytest

from sizing.catalogue import load_catalogue
from sizing.cost.bill import disk_usd_per_hour, memory_usd_per_gib_hour, shared_lines, total
from sizing.cost.budget import budget_plan
from sizing.cost.cluster_bill import default_cluster_bill, fixed_bill_cluster
from sizing.cost.transfer import StackTraffic, gb_per_hour, traffic_lines
from sizing.errors import BadInput
from sizing.inputs import Budget, ModelEntry, VectorStore
from sizing.nodes.pools import fleet_usd_per_hour, split_nodes
from sizing.plan import Bounds, Disk, Replicas, StackPlan
from sizing.planning.planner import plan_stack
from sizing.serving.vector_store import plan_vector_store
from sizing.units import HOURS_PER_MONTH
from sizing.workload.workload import Workload
from tests.support.plans import plan_request

CATALOGUE = load_catalogue()
REGION = "us-east-1"


def plan(store: VectorStore | None = None) -> StackPlan:
    workload = Workload(requests_per_second=20, input_tokens=900, output_tokens=250)
    entry = ModelEntry(name="chat", model="meta-llama/Llama-3.1-8B-Instruct", workload=workload)
    return plan_stack(plan_request([entry], budget=Budget(monthly_usd=90_000), vector_store=store))


def test_the_burn_is_the_sum_of_the_lines() -> None:
    made = plan()
    assert made.burn_usd_per_hour.ceiling == pytest.approx(
        sum(line.usd_per_hour.ceiling for line in made.bill), abs=1e-5
    )


def test_the_ceiling_of_the_nodes_is_counts_times_the_dearest_on_demand_price() -> None:
    made = plan()
    for pool in made.pools:
        dearest = max(CATALOGUE.instance(o.instance_type).on_demand_usd_per_hour[REGION] for o in pool.offers)
        assert pool.usd_per_hour.ceiling == pytest.approx(pool.ceiling_instances * dearest)
    assert made.models[0].usd_per_hour.ceiling == pytest.approx(sum(p.usd_per_hour.ceiling for p in made.pools))
    assert made.models[0].usd_per_hour.expected == pytest.approx(sum(p.usd_per_hour.expected for p in made.pools))


def test_only_the_bill_of_spot_says_that_its_nodes_may_be_on_demand() -> None:
    lines = {line.name: line.rule for line in plan().bill}
    told = {name for name, rule in lines.items() if "where spot is not sold nodes are on demand" in rule}
    assert told == {f"GPU nodes {pool.name}" for pool in plan().pools if pool.capacity_type == "spot"} != set()


def test_a_disk_pays_for_what_it_has_above_the_included_speed() -> None:
    disk = Disk(size_gib=100, iops=4000, throughput_mib_per_s=225)
    assert disk_usd_per_hour(disk, REGION, CATALOGUE) == pytest.approx(
        (8 + 1000 * 0.005 + 100 * 0.04) / HOURS_PER_MONTH
    )


@pytest.mark.parametrize(
    ("share", "above", "spot"),
    [(0.0, 5, 0), (0.5, 5, 3), (1.0, 5, 5), (0.1, 1, 1), (0.55, 100, 55), (0.07, 100, 7), (0.29, 100, 29)],
)
def test_nodes_above_the_floor_are_split_with_spot_rounded_up(share: float, above: int, spot: int) -> None:
    split = split_nodes(Replicas(floor=1, expected=2, ceiling=1 + above), 1, share)
    assert (split.floor, split.spot_ceiling, split.burst_ceiling) == (1, spot, above - spot)
    assert split.ceiling == 1 + above


def test_replicas_that_share_a_node_are_counted_in_whole_nodes() -> None:
    assert split_nodes(Replicas(floor=4, expected=8, ceiling=12), 4, 1.0).ceiling == 3


def test_spot_is_planned_above_the_snapshot_and_never_above_on_demand() -> None:
    seen, unseen, none = (CATALOGUE.instance(name) for name in ("g7e.2xlarge", "g6e.xlarge", "p5.4xlarge"))
    assert seen.offer(REGION).spot_usd_per_hour == pytest.approx(1.2 * seen.spot_price(REGION))
    assert unseen.offer(REGION).spot_usd_per_hour == pytest.approx(1.2 * 0.49 * 1.861)
    assert none.offer(REGION).spot_usd_per_hour == none.on_demand_usd_per_hour[REGION]
    offers = (dataclasses.replace(unseen.offer(REGION), spot_usd_per_hour=1.5),)
    cost = fleet_usd_per_hour(split_nodes(Replicas(floor=1, expected=2, ceiling=3), 1, 1.0), offers)
    assert cost == Bounds(floor=1.861, expected=1.861 + 1.5, ceiling=1.861 + 2 * 1.861)


def test_the_vector_store_follows_the_documented_formula() -> None:
    """Qdrant: 10 million vectors of 1024 dimensions need 61 GB of RAM; two copies over four nodes are half each."""
    store = plan_vector_store(VectorStore(vectors=10_000_000, dimensions=1024, replicas=4))
    assert store.memory_gib == pytest.approx(10e6 * 1024 * 4 * 1.5 / 2**30 / 2, abs=0.25)
    assert store.shards == 12
    on_disk = plan_vector_store(VectorStore(vectors=10_000_000, dimensions=1024, replicas=4, on_disk=True))
    assert on_disk.memory_gib < 0.2 * store.memory_gib
    assert on_disk.disk_gib == store.disk_gib


def test_a_vector_store_larger_than_any_machine_is_refused() -> None:
    with pytest.raises(BadInput, match="per replica"):
        plan_vector_store(VectorStore(vectors=10_000_000_000, dimensions=1024))


def test_the_vector_store_is_on_the_bill() -> None:
    with_store = plan(VectorStore(vectors=5_000_000, dimensions=1024)).burn_usd_per_hour
    assert with_store.floor - plan().burn_usd_per_hour.floor > 0.5


def test_alarms_stand_at_the_three_burn_rates_and_at_the_limit() -> None:
    burn = Bounds(floor=1.0, expected=2.0, ceiling=4.0)
    made = budget_plan(7300, "notify", ("b@example.com", "a@example.com"), burn, ())
    assert made.actual_thresholds_percent == (10.0, 20.0, 40.0, 100.0)
    assert made.notify == ("a@example.com", "b@example.com")


def test_the_cluster_bill_counts_zones_endpoints_and_system_nodes() -> None:
    lines = fixed_bill_cluster(
        REGION, CATALOGUE, zones=3, nat_gateways=1, interface_endpoints=4,
        system_instance_type="m7i.xlarge", system_nodes=3, system_disk_gib=50,
    )  # fmt: skip
    by_name = {line.name: line.usd_per_hour.floor for line in lines}
    assert by_name["interface endpoints"] == pytest.approx(0.12)
    assert by_name["system nodes"] == pytest.approx(3 * (0.2016 + 50 * 0.08 / HOURS_PER_MONTH))
    assert total(lines).floor == pytest.approx(sum(by_name.values()), abs=1e-5)


def test_the_bill_has_a_line_for_all_that_a_stack_costs() -> None:
    names = [line.name for line in plan(VectorStore(vectors=5_000_000, dimensions=1024)).bill]
    for expected in ("GPU nodes", "disks", "weights, logs", "load balancer", "transfer between zones", "vector store",
                     "key and secrets"):  # fmt: skip
        assert any(name.startswith(expected) for name in names), expected
    cluster = [line.name for line in default_cluster_bill(REGION, CATALOGUE)]
    assert cluster == ["EKS control plane", "NAT gateways", "interface endpoints", "system nodes", "cluster key",
                       "NAT and endpoint data", "image registry", "cluster logs"]  # fmt: skip


def test_the_snapshots_of_the_vector_store_are_on_the_bill_for_the_days_that_s3_keeps_them() -> None:
    store = plan_vector_store(VectorStore(vectors=5_000_000, dimensions=1024))
    line = next(one for one in shared_lines(store, REGION, CATALOGUE) if one.name == "vector store")
    memory = store.replicas * store.memory_gib * memory_usd_per_gib_hour(REGION, CATALOGUE)
    disks = store.replicas * store.disk_gib
    month = disks * 0.08 + disks / 3 * 8 * 0.023
    assert line.usd_per_hour.ceiling == pytest.approx(memory + month / HOURS_PER_MONTH)


def test_transfer_is_bytes_of_prompts_and_answers_times_hops_between_zones() -> None:
    workload = Workload(requests_per_second=10, input_tokens=1000, output_tokens=200, minimum_share=0.5, peak_factor=2)
    entry = ModelEntry(name="chat", model="meta-llama/Llama-3.1-8B-Instruct", workload=workload)
    carried = 10 * 3600 * (1000 * 5 + 200 * 250) / 1e9
    assert gb_per_hour((entry,)) == Bounds(floor=carried / 2, expected=carried, ceiling=2 * carried)
    traffic = StackTraffic(entries=(entry,), zones=2, internet_facing=True)
    lines = {line.name: line.usd_per_hour for line in traffic_lines(traffic, REGION, CATALOGUE)}
    assert lines["transfer between zones"].expected == pytest.approx(carried * 2 * 0.5 * 0.02)
    assert lines["transfer to the internet"].ceiling == pytest.approx(2 * 10 * 3600 * 200 * 250 / 1e9 * 0.09)
    assert lines["load balancer"].ceiling == pytest.approx(0.0225 + 2 * carried * 0.006)
    inside = traffic_lines(StackTraffic(entries=(entry,), zones=1), REGION, CATALOGUE)
    assert [line.name for line in inside] == ["load balancer"]


def test_what_scales_to_zero_carries_nothing_at_the_floor() -> None:
    workload = Workload(requests_per_second=10, input_tokens=1000, output_tokens=200)
    entry = ModelEntry(name="chat", model="m", workload=workload, scale_to_zero=True)
    assert gb_per_hour((entry,)).floor == 0


def test_an_internet_facing_stack_pays_for_what_it_sends_out() -> None:
    workload = Workload(requests_per_second=20, input_tokens=900, output_tokens=250)
    entry = ModelEntry(name="chat", model="meta-llama/Llama-3.1-8B-Instruct", workload=workload)
    outside, inside = (plan_stack(plan_request([entry], internet_facing=faced)) for faced in (True, False))
    more = outside.burn_usd_per_hour.expected - inside.burn_usd_per_hour.expected
    assert more == pytest.approx(20 * 3600 * 250 * 250 / 1e9 * 0.09, abs=1e-5)
