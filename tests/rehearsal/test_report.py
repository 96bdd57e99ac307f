"""The answer of a rehearsal follows from what it found; live objects are compared with the plan."""

from __future__ import annotations

import dataclasses

import pytest

from infra.config import STACKS_DIR
from rehearsal.availability import Availability
from rehearsal.checks import (
    budget_as_planned,
    dollars_as_planned,
    nodes_as_planned,
    nothing_pending,
    placements,
    pods_as_planned,
    pool_of,
    replicas_placed,
    type_of,
    within_ceiling,
)
from rehearsal.control_plane.objects import dropped_fields
from rehearsal.karpenter.controller import Purchase
from rehearsal.karpenter.offers import CloudMarket
from rehearsal.providers.kubernetes import KubernetesStandIn
from rehearsal.report import Check, RehearsalReport, RuleVerdict
from rehearsal.run import read_rehearsal_plan
from rehearsal.scenarios import Disruption, places_left, scenario_named, sharing
from rehearsal.simulated.readiness import pod_selector, waiting_for
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput

LABELS = {"app.kubernetes.io/name": "chat", "app.kubernetes.io/component": "model"}


@pytest.fixture(scope="module")
def plan():
    from infra.config import settings_from_file, stack_file
    from infra.program import plan_for

    return plan_for(settings_from_file(stack_file("dev")), "dev")


@pytest.fixture(scope="module")
def prod():
    from infra.config import settings_from_file, stack_file
    from infra.program import plan_for

    return plan_for(settings_from_file(stack_file("prod")), "prod")


def node(name, pool, instance_type, zone, *, capacity="spot", gpus=1):
    labels = {
        "tonnage.dev/pool": pool,
        "node.kubernetes.io/instance-type": instance_type,
        "topology.k8s.aws/zone-id": zone,
        "karpenter.sh/capacity-type": capacity,
    }
    return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}}}


def pod(name, on=""):
    return {"metadata": {"name": name, "namespace": "serving", "labels": LABELS}, "spec": {"nodeName": on}}


def landed(plan, instance_type=None, zone=None):
    pool = plan.pools[0]
    machine = node("n", pool.name, instance_type or pool.offers[0].instance_type, zone or pool.zones[0])
    return placements("floor", [pod("chat-a", "n")], [machine], {})


def test_a_report_passes_only_when_nothing_speaks_against_it():
    report = RehearsalReport(stack="dev", scenario=None)
    assert report.passed
    for change, problem in (
        ({"failure": "x: died"}, "x: died"),
        ({"checks": [Check(name="c", passed=False, detail="why")]}, "c: why"),
        ({"policies": [RuleVerdict(stack="dev", rule="r", passed=False, message="m")]}, "dev: policy r: m"),
        ({"leftovers": ["Node a"]}, "left behind: Node a"),
    ):
        broken = dataclasses.replace(report, **change)
        assert (broken.passed, broken.first_problem()) == (False, problem)
        assert broken.to_document()["problem"] == problem


def test_a_pending_pod_is_named_with_what_it_asks_and_what_is_missing():
    found = placements("ceiling", [pod("chat-b")], [], {"serving/chat-b": "pool chat-spot: GPU limit 1, 1 in use"})
    check = nothing_pending("ceiling", found)
    assert not check.passed
    assert "pod serving/chat-b is Pending" in check.detail
    assert "GPU limit 1, 1 in use" in check.detail


def test_pods_count_only_on_the_pools_machines_and_zones_of_the_plan(plan):
    assert replicas_placed("floor", plan, landed(plan), {"chat": 1}).passed
    assert "1 of 2 replicas" in replicas_placed("floor", plan, landed(plan), {"chat": 2}).detail
    assert "does not offer" in replicas_placed("floor", plan, landed(plan, "g4dn.xlarge"), {"chat": 1}).detail
    assert "is in mars" in replicas_placed("floor", plan, landed(plan, zone="mars"), {"chat": 1}).detail
    stray = placements("floor", [pod("chat-a", "n")], [node("n", "other", "g6.xlarge", "z")], {})
    assert "is in other, not in" in replicas_placed("floor", plan, stray, {"chat": 1}).detail


def test_a_dearer_fleet_than_planned_is_a_no(plan):
    pool = plan.pools[0]
    dearest = max(pool.offers, key=lambda offer: offer.on_demand_usd_per_hour)
    fleet = [node(f"n{i}", pool.name, dearest.instance_type, "z") for i in range(pool.ceiling_instances + 1)]
    assert within_ceiling(plan, [], fleet[:-1])[0].passed
    assert not within_ceiling(plan, [], fleet)[0].passed
    assert "does not price" in within_ceiling(plan, [], [node("n", pool.name, "g4dn.metal", "z")])[0].detail


def fleet_of(plan, stage):
    """Every pool's nodes of the plan at one stage, of its first type."""
    return [
        node(f"{pool.name}-{i}", pool.name, pool.offers[0].instance_type, "z", capacity=pool.capacity_type)
        for pool in plan.pools
        for i in range(getattr(pool, f"{stage}_instances"))
    ]


def spot_first(fleet):
    """Move the burst node of chat, which prod plans beside a spot node, to the spot pool, as Karpenter does."""
    return [
        node("chat-spot-1", "chat-spot", type_of(one), "z") if pool_of(one) == "chat-burst" else one for one in fleet
    ]


def paid(machine, plan, factor=1.0):
    """Buy the node at the plan's price of its type times ``factor``."""
    (pool,) = [one for one in plan.pools if one.name == pool_of(machine)]
    price = pool.offers[0].usd_per_hour(pool.capacity_type) * factor
    return Purchase(node=machine["metadata"]["name"], pool=pool.name, usd_per_hour=price)


def test_nodes_and_their_price_are_those_of_the_plan(prod):
    for stage in ("floor", "expected", "ceiling"):
        fleet = fleet_of(prod, stage)
        bought = [paid(one, prod) for one in fleet]
        check = nodes_as_planned(stage, prod, bought, fleet)
        assert check.passed, check.detail
    more = nodes_as_planned("ceiling", prod, bought, [*fleet, fleet[0]])
    assert f"{prod.pools[0].ceiling_instances + 1} in {prod.pools[0].name}" in more.detail


@pytest.mark.parametrize("factor", [0.5, 0.999, 1.001, 1.7])
def test_a_node_at_another_price_than_the_plans_fails_whether_dearer_or_cheaper(prod, factor):
    fleet = fleet_of(prod, "ceiling")
    spot = next(one for one in fleet if pool_of(one) == "chat-spot")
    bought = [paid(one, prod, factor if one is spot else 1.0) for one in fleet]
    check = nodes_as_planned("ceiling", prod, bought, fleet)
    assert not check.passed
    assert f"{spot['metadata']['name']} (g6e.xlarge) costs $" in check.detail


def test_spot_may_hold_what_the_plan_counts_on_demand_but_only_between_floor_and_ceiling(prod):
    pools = tuple(dataclasses.replace(p, expected_instances=1) if p.name == "chat-burst" else p for p in prod.pools)
    prod = dataclasses.replace(prod, pools=pools)
    spot, burst = (next(p for p in prod.pools if p.name == f"chat-{kind}") for kind in ("spot", "burst"))
    fleet = fleet_of(prod, "expected")
    moved = [*fleet, node("more", spot.name, spot.offers[0].instance_type, "z")]
    moved = [one for one in moved if pool_of(one) != burst.name]
    bought = [paid(one, prod) for one in moved if pool_of(one).endswith("-spot")]
    assert nodes_as_planned("expected", prod, bought, moved).passed
    assert "0 in chat-burst" in nodes_as_planned("ceiling", prod, bought, moved).detail


def test_dollars_differ_from_the_plan_by_three_percent_at_most_and_never_exceed_the_ceiling(prod):
    def judged(stage, factor):
        fleet = fleet_of(prod, stage) if stage == "ceiling" else spot_first(fleet_of(prod, stage))
        return dollars_as_planned(stage, prod, [paid(one, prod, factor) for one in fleet], fleet)

    assert [judged("expected", factor).passed for factor in (0.96, 0.98, 1.0, 1.02, 1.04)] == [0, 1, 1, 1, 0]
    assert judged("floor", 1.0).detail == "$25.68 an hour bought, $25.68 planned: 1.000 of it"
    assert judged("ceiling", 0.5).passed
    fleet = fleet_of(prod, "ceiling")
    assert not dollars_as_planned("ceiling", prod, [], [*fleet, *fleet]).passed
    outside = node("n", "", "p5.48xlarge", "z")
    assert not dollars_as_planned("ceiling", prod, [], [outside]).passed


def test_a_missing_deployment_and_a_missing_budget_are_noticed(plan):
    assert pods_as_planned(plan, []).detail == "chat has no Deployment"
    assert not budget_as_planned(plan, []).passed
    wrong = {"timeUnit": "MONTHLY", "limitAmount": "1", "notifications": []}
    assert "limit 1, planned 6000" in budget_as_planned(plan, [wrong]).detail


def without_fallback(plan):
    pools = tuple(dataclasses.replace(pool, fallback_capacity_type=None) for pool in plan.pools)
    return dataclasses.replace(plan, pools=pools)


def test_after_a_spot_reclaim_a_pool_without_a_fallback_holds_nothing(plan):
    market = CloudMarket(catalogue=load_catalogue(), region=plan.region)
    machines = [
        node("s", plan.pools[0].name, "g6.xlarge", "z"),
        node("d", "floor", "g6.xlarge", "z", capacity="on-demand"),
    ]
    disruption = scenario_named("spot-reclaim")(machines, market)
    assert disruption.nodes == ("s",)
    replicas = plan.pools[0].ceiling_instances * plan.models[0].replicas_per_instance
    wanted = {plan.models[0].name: replicas + 1}
    assert places_left(plan, plan.models, wanted, disruption, market) == (replicas, replicas)
    assert places_left(without_fallback(plan), plan.models, wanted, disruption, market) == (0, 0)
    calm = Disruption(what="", nodes=(), market=market)
    assert places_left(plan, plan.models, wanted, calm, market) == (replicas, replicas)
    assert places_left(plan, plan.models, {plan.models[0].name: 0}, calm, market) == (0, 0)


def test_the_zone_with_most_gpu_nodes_is_lost():
    machines = [node("a", "p", "t", "z1"), node("b", "p", "t", "z2"), node("c", "p", "t", "z2")]
    disruption = scenario_named("zone-loss")(machines, CloudMarket(catalogue=load_catalogue(), region="us-east-1"))
    assert disruption.nodes == ("b", "c")
    assert disruption.market.closed_zones == {"z2"}


def test_an_unknown_scenario_lists_the_known_ones():
    with pytest.raises(BadInput, match="engine-version, spot-reclaim, store-growth, upgrades, zone-loss"):
        scenario_named("flood")


def test_fields_that_a_schema_dropped_are_named_by_path():
    sent = {"spec": {"good": 1, "bad": {"x": 1}, "list": [{"a": 1, "b": 2}], "empty": []}, "stringData": {"k": "v"}}
    assert dropped_fields(sent, {"spec": {"good": 2, "list": [{"a": 1}]}}) == ["spec.bad", "spec.list[0].b"]


@pytest.mark.parametrize(
    ("live", "missing"),
    [
        ({"kind": "ConfigMap"}, ""),
        ({"kind": "Job", "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, ""),
        ({"kind": "Job"}, "not complete"),
        ({"kind": "Deployment", "spec": {"replicas": 0}, "status": {"observedGeneration": 1}}, ""),
        (
            {"kind": "Deployment", "spec": {"replicas": 2}, "status": {"availableReplicas": 1}},
            "1 of 2 replicas available",
        ),
        ({"kind": "Deployment", "metadata": {"generation": 2}}, "its controller has not seen it yet"),
        ({"kind": "StatefulSet", "spec": {"replicas": 3}, "status": {"readyReplicas": 3, "updatedReplicas": 3}}, ""),
        (
            {"kind": "StatefulSet", "spec": {"replicas": 3}, "status": {"readyReplicas": 3, "updatedReplicas": 1}},
            "1 of 3 replicas ready",
        ),
    ],
)
def test_each_kind_is_ready_in_its_own_way(live, missing):
    assert waiting_for(live) == missing


def test_pods_are_found_by_the_selector_of_their_workload():
    workload = {"kind": "Deployment", "spec": {"selector": {"matchLabels": {"b": "2", "a": "1"}}}}
    assert pod_selector(workload) == "a=1,b=2"
    assert pod_selector({"kind": "Service"}) == ""


@pytest.mark.parametrize("limits", [{"chat": 1}, {"assistant-floor": 1}, {"chat-spot": -1}])
def test_only_a_karpenter_pool_of_the_stack_can_be_cut(limits):
    with pytest.raises(BadInput, match="--gpu-limit"):
        read_rehearsal_plan("prod", None, STACKS_DIR, limits)


def shared_plan(*narrow):
    """Plan two models that share p4d: at TP4 both, or the second as ``narrow`` states."""
    from sizing.inputs import Capacity, EngineOverrides, ModelEntry, ReplicaBounds
    from sizing.planning.planner import plan_stack
    from sizing.workload.workload import Objectives, Workload
    from tests.support.plans import plan_request

    load = Workload(requests_per_second=0.05, input_tokens=400, output_tokens=100)
    wide = ("meta-llama/Llama-3.3-70B-Instruct", EngineOverrides(tensor_parallel=4, pipeline_parallel=1))
    entries = [
        ModelEntry(
            name=name, model=model, engine=engine, workload=load, replicas=ReplicaBounds(floor=1, ceiling=3),
            objectives=Objectives(ttft_p95_ms=20_000, tpot_p95_ms=200),
        )
        for name, (model, engine) in (("a", wide), ("b", narrow or wide))
    ]  # fmt: skip
    capacity = Capacity(gpus=("A100-40GB",), zones=1)
    return plan_stack(plan_request(entries, capacity=capacity))


def test_models_on_shared_nodes_are_counted_together_after_a_blow():
    shared = shared_plan()
    market = CloudMarket(catalogue=load_catalogue(), region=shared.region)
    calm, wanted = Disruption(what="", nodes=(), market=market), {"a": 3, "b": 3}
    assert sharing(shared) == [shared.models]
    assert places_left(shared, shared.models, wanted, calm, market) == (6, 6)
    closed = scenario_named("spot-reclaim")([], market)
    left = sum(pool.ceiling_instances for pool in shared.pools if pool.capacity_type != "spot")
    assert left < 3
    assert places_left(shared, shared.models, wanted, closed, market) == (6, 6)
    assert places_left(without_fallback(shared), shared.models, wanted, closed, market) == (2 * left, 2 * left)


def test_pods_of_two_widths_may_leave_more_or_fewer_places_and_need_fewer_nodes_than_planned():
    from sizing.inputs import EngineOverrides

    mixed = shared_plan("meta-llama/Llama-3.1-8B-Instruct", EngineOverrides(tensor_parallel=1, pipeline_parallel=1))
    assert sorted(model.resources.gpus for model in mixed.models if model.shares_with) == [1, 4]
    market = CloudMarket(catalogue=load_catalogue(), region=mixed.region)
    closed = scenario_named("spot-reclaim")([], market)
    fewest, most = places_left(without_fallback(mixed), mixed.models, {"a": 3, "b": 3}, closed, market)
    assert (fewest, most) == (4, 6)
    fleet = fleet_of(mixed, "ceiling")
    dearest = [paid(one, mixed) for one in fleet]
    assert nodes_as_planned("ceiling", mixed, dearest, fleet).passed
    assert nodes_as_planned("ceiling", mixed, dearest, fleet[:-1]).passed
    assert not nodes_as_planned("ceiling", mixed, dearest, [*fleet, fleet[0]]).passed
    assert not nodes_as_planned("ceiling", shared_plan(), dearest, fleet_of(shared_plan(), "ceiling")[:-1]).passed


def test_a_gap_is_counted_when_a_replica_leaves_before_its_successor_serves_and_not_after_it():
    def pod(uid, ready=True, **more):
        status = {"conditions": [{"type": "Ready", "status": str(ready)}]}
        return {"metadata": {"uid": uid, "labels": {"app.kubernetes.io/name": "chat"}, **more}, "status": status}

    seen = Availability(None, {"chat": 2})
    for kind, document in (
        ("ADDED", pod("a")), ("ADDED", pod("b")), ("ADDED", pod("c")), ("MODIFIED", pod("a", deletionTimestamp="now")),
    ):  # fmt: skip
        seen.take(kind, document)
    assert (seen.gaps["chat"], seen.least["chat"]) == (0, 2)
    seen.take("DELETED", pod("b"))
    seen.take("ADDED", pod("d", ready=False))
    assert (seen.gaps["chat"], seen.least["chat"]) == (1, 1)


class Cluster:
    """A client of which every object reads as one Deployment that the autoscaler has scaled."""

    def read(self, document):
        return {"spec": {"replicas": 5, "paused": False}}


def test_an_ignored_field_is_sent_as_the_cluster_has_it_and_no_other():
    stand_in = KubernetesStandIn(Cluster())
    inputs = {"kind": "Deployment", "metadata": {"name": "chat"}, "spec": {"replicas": 1, "paused": True}}
    assert stand_in._as_live(inputs, ["spec.replicas"])["spec"] == {"replicas": 5, "paused": True}
    assert stand_in._as_live(inputs, ["spec.gone.deeper"])["spec"]["replicas"] == 1
    assert inputs["spec"]["replicas"] == 1
