"""Node groups as EKS makes nodes of them, and what a pod asks for."""

import pytest

from rehearsal.simulated.node_groups import group_nodes
from rehearsal.simulated.pods import Room, asked, number
from sizing.catalogue import load_catalogue


def test_a_node_group_gives_its_desired_nodes_over_its_zones():
    inputs = {
        "instanceTypes": ["g6e.xlarge"],
        "scalingConfig": {"minSize": 1, "desiredSize": 3, "maxSize": 5},
        "labels": {"tonnage.dev/pool": "chat-floor"},
        "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}],
    }
    nodes = group_nodes("floor", inputs, zones=["a", "b"], disk_gib=100, catalogue=load_catalogue())
    assert [(node.name, node.zone, node.pool) for node in nodes] == [
        ("floor-0", "a", "chat-floor"),
        ("floor-1", "b", "chat-floor"),
        ("floor-2", "a", "chat-floor"),
    ]
    assert nodes[0].taints[0].effect == "NoSchedule"
    assert nodes[0].ephemeral_gib == pytest.approx(89)


@pytest.mark.parametrize(("text", "value"), [("250m", 0.25), ("2", 2), ("1Gi", 2**30), (None, 0), ("1.5G", 1.5e9)])
def test_quantities_are_read_as_kubernetes_writes_them(text, value):
    assert number(text) == value


def test_a_pod_asks_for_the_larger_of_its_init_container_and_its_containers():
    resources = [{"resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}] * 2
    starting = [{"resources": {"requests": {"memory": "8Gi"}}}]
    assert asked({"spec": {"containers": resources, "initContainers": starting}}) == Room(cpu=2, memory_gib=8)
