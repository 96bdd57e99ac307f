"""What an upgrade costs: GPU-minutes from the strategy, the drain and the start, and the replicas that go on."""

from sizing.plan.operation import UpgradeLoss
from sizing.serving.upgrades import replaced_in_place, upgrade_losses
from tests.support.plans import pools_for, serving_plan

IN_PLACE = {"surge": 0, "rollout": {"unavailable": 1, "unavailable_unit": "replicas"}}
START_S, NODE_S, DRAIN_S = 305.0, 90.0, 90


def losses(**changes):
    plan = serving_plan(**changes)
    return {one.kind: one for one in upgrade_losses(plan, pools_for(plan))}


def test_with_room_for_one_more_a_rollout_takes_nothing_away():
    plan = serving_plan(surge=1, rollout={"unavailable": 25, "unavailable_unit": "percent"})
    assert [replaced_in_place(plan, replicas) for replicas in (1, 2, 3, 4)] == [0, 0, 0, 2]
    assert losses(surge=1, rollout={"unavailable": 25, "unavailable_unit": "percent"})[
        "model or engine"
    ] == UpgradeLoss(kind="model or engine", model="chat", gpu_minutes=0.0, serving=2, replicas=2)


def test_without_room_every_replica_is_replaced_in_place_one_after_the_other():
    lost = losses(resources={"gpus": 4}, **IN_PLACE)["model or engine"]
    assert lost.gpu_minutes == round(4 * 2 * (DRAIN_S + START_S - NODE_S) / 60, 1)
    assert (lost.serving, lost.replicas) == (1, 2)


def test_a_managed_node_ends_before_its_successor_and_one_of_karpenter_after_it():
    lost = losses(pools=("chat-floor", "chat-spot"))["node image or Kubernetes"]
    managed, bought = DRAIN_S + START_S, DRAIN_S + START_S - NODE_S
    assert lost.gpu_minutes == round((managed + bought) / 60, 1)


def test_an_expiry_is_forceful_and_takes_nodes_of_karpenter_only():
    assert losses(pools=("chat-spot",))["expiry of nodes"].gpu_minutes == round(2 * (DRAIN_S + START_S) / 60, 1)
    assert losses(pools=("chat-floor",), replicas={"expected": 1})["expiry of nodes"].gpu_minutes == 0


def test_a_single_replica_in_place_is_away_for_a_while_and_that_is_said():
    assert losses(replicas={"expected": 1}, **IN_PLACE)["model or engine"].serving == 0
