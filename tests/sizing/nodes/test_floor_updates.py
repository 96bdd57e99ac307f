"""What an update of the always-on machines costs is said, with what carries it."""

from __future__ import annotations

from dataclasses import replace

from sizing.nodes.floor_updates import floor_update_warnings
from tests.support.plans import node_pool_plan

FLOOR = replace(node_pool_plan(), name="chat-floor", kind="managed", floor_instances=1, models=("chat",))
BURST = replace(node_pool_plan(), name="chat-burst", kind="karpenter", models=("chat",))
START = (
    "chat-floor: an update of its image, disk, tags or Kubernetes version ends a machine before it buys the next: "
    f"1 of 1 {FLOOR.offers[0].instance_type} less, until EC2 sells one; "
)
END = ", and an open capacity reservation of the type keeps it"


def test_a_pool_beside_it_carries_the_replicas():
    assert floor_update_warnings([FLOOR, BURST]) == (f"{START}its replicas may go to chat-burst{END}",)


def test_without_one_nothing_does():
    elsewhere = replace(BURST, models=("other",))
    says = "no other pool takes its replicas (replicas.ceiling above the floor makes one)"
    assert floor_update_warnings([FLOOR, elsewhere]) == (f"{START}{says}{END}",)


def test_pools_of_karpenter_need_no_warning():
    assert floor_update_warnings([BURST]) == ()
