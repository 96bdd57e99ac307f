"""What a plan keeps in reserve for the loss of a node or of a zone, and what it says of such a loss."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, NoPlan
from sizing.inputs import Capacity, ModelEntry, ReplicaBounds
from sizing.nodes.loss_tolerance import lost_nodes, lost_replicas, nodes_that_survive, replicas_that_survive
from sizing.plan import Replicas, ServingPlan
from sizing.planning.planner import plan_model
from sizing.planning.search.options import Market
from sizing.planning.search.rates import Rates
from sizing.planning.search.replicas import replicas_of
from sizing.workload.workload import Objectives, Workload

CATALOGUE = load_catalogue()
TOLERANCES = ("none", "replica", "zone")
tolerances, zones = st.sampled_from(TOLERANCES), st.integers(2, 6)


def entry(rate: float = 20, **more: object) -> ModelEntry:
    workload = Workload(requests_per_second=rate, input_tokens=900, output_tokens=250, peak_factor=2, minimum_share=0.1)
    objectives = Objectives(ttft_p95_ms=3000, tpot_p95_ms=150)
    given = {"workload": workload, "objectives": objectives, **more}
    return ModelEntry(name="chat", model="meta-llama/Llama-3.1-8B-Instruct", **given)


def planned(one: ModelEntry, zones: int = 2) -> ServingPlan:
    return plan_model(
        one, Market(capacity=Capacity(zones=zones, gpus=("L4", "L40S")), region="us-east-1", catalogue=CATALOGUE), top=0
    ).chosen


def figure(plan: ServingPlan, name: str) -> tuple[str, object]:
    found = next(one for one in plan.figures if one.name == name)
    return str(found.value), found.inputs["met"]


@given(needed=st.integers(1, 500), tolerance=tolerances, zones=zones)
def test_no_fewer_nodes_survive_the_loss(needed: int, tolerance: str, zones: int) -> None:
    nodes = nodes_that_survive(needed, tolerance, zones)
    assert nodes - lost_nodes(nodes, tolerance, zones) >= needed
    assert nodes == needed or nodes - 1 - lost_nodes(nodes - 1, tolerance, zones) < needed


@given(needed=st.integers(1, 60), per_node=st.integers(1, 8), tolerance=tolerances, zones=zones)
def test_replicas_that_survive_are_counted_node_by_node(needed: int, per_node: int, tolerance: str, zones: int) -> None:
    count = replicas_that_survive(needed, per_node, tolerance, zones)
    assert count - lost_replicas(count, per_node, tolerance, zones) >= needed
    assert count <= nodes_that_survive(-(-needed // per_node), tolerance, zones) * per_node


@pytest.mark.parametrize(
    ("tolerance", "zones", "counts"),
    [("none", 2, (2, 6, 10)), ("replica", 2, (4, 8, 12)), ("zone", 2, (4, 12, 20)), ("zone", 3, (4, 10, 16))],
)
def test_floor_expected_and_ceiling_follow_in_whole_nodes(
    tolerance: str, zones: int, counts: tuple[int, int, int]
) -> None:
    one = entry(loss_tolerance=tolerance)
    assert replicas_of(one, Rates(4.0), 2, zones) == Replicas(floor=counts[0], expected=counts[1], ceiling=counts[2])


def test_a_model_at_zero_keeps_no_reserve_there() -> None:
    assert replicas_of(entry(scale_to_zero=True, loss_tolerance="zone"), Rates(4.0), 1, 2) == Replicas(
        floor=0, expected=10, ceiling=20
    )


def test_a_ceiling_without_room_for_the_reserve_is_refused_in_one_line() -> None:
    one = entry(loss_tolerance="replica", replicas=ReplicaBounds(ceiling=5))
    assert replicas_of(one, Rates(4.0), 1, 2) == (
        "needs 6 replicas for requestsPerSecond with lossTolerance replica, replicas.ceiling allows 5"
    )
    with pytest.raises(NoPlan, match="with lossTolerance replica"):
        planned(entry(rate=40, loss_tolerance="replica", replicas=ReplicaBounds(ceiling=2)))


def test_no_zone_can_be_lost_where_there_is_one() -> None:
    with pytest.raises(BadInput) as said:
        planned(entry(loss_tolerance="zone"), zones=1)
    assert str(said.value) == (
        "models.chat.lossTolerance: zone cannot hold in one zone, whose loss takes every replica; limit: capacity.zones"
        " 2 or more; hint: raise capacity.zones or state lossTolerance: replica"
    )


def test_the_plan_says_what_is_lost_and_whether_the_promise_holds() -> None:
    none, replica, zone = (planned(entry(loss_tolerance=one)) for one in TOLERANCES)
    assert figure(none, "loss_of_node")[1] == "no"
    assert (
        figure(replica, "loss_of_node")[1]
        == figure(zone, "loss_of_node")[1]
        == figure(zone, "loss_of_zone")[1]
        == "yes"
    )
    assert figure(replica, "loss_of_zone")[1] == "no"
    assert none.usd_per_hour.expected < replica.usd_per_hour.expected < zone.usd_per_hour.expected
    alone = planned(entry(rate=0.1))
    assert figure(alone, "loss_of_node")[0] == f"no replica is left: an outage of about {alone.start_up.total_s:.0f} s"


@given(rate=st.floats(0.1, 200), each=st.floats(0.9, 20), per_node=st.integers(1, 8), zones=zones)
def test_more_tolerance_is_never_fewer_replicas(rate: float, each: float, per_node: int, zones: int) -> None:
    none, replica, zone = (
        replicas_of(entry(rate, loss_tolerance=one), Rates(each), per_node, zones) for one in TOLERANCES
    )
    for less, more in ((none, replica), (replica, zone)):
        assert less.floor <= more.floor
        assert less.expected <= more.expected
        assert less.ceiling <= more.ceiling
