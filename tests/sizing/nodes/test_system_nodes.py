"""System nodes: their zones, and what must fit on them beside the operators."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.inputs import VectorStore
from sizing.nodes.system_nodes import SystemNodes, check_fit, check_instance, nodes_by_zone
from sizing.serving.vector_store import plan_vector_store

ZONES = ("use1-az1", "use1-az2", "use1-az4")
CATALOGUE = load_catalogue()
STORE = plan_vector_store(VectorStore(vectors=5_000_000, dimensions=1024, replicas=3))


def nodes(instance_type: str = "m7i.2xlarge", count: int = 3) -> SystemNodes:
    return SystemNodes(instance=CATALOGUE.instance(instance_type), by_zone=nodes_by_zone(ZONES, count))


def refusal(found: SystemNodes, store=STORE, proxies: int = 2) -> str:
    with pytest.raises(BadInput) as refused:
        check_fit(found, store, proxies)
    return refused.value.line()


@pytest.mark.parametrize(("count", "want"), [(2, (1, 1)), (3, (1, 1, 1)), (4, (2, 1, 1)), (8, (3, 3, 2))], ids=str)
def test_nodes_are_as_even_over_the_zones_as_it_gets_and_no_group_is_empty(count, want):
    assert nodes_by_zone(ZONES, count) == dict(zip(ZONES, want, strict=False))


def test_what_fits_is_let_through():
    check_fit(nodes(), STORE, 2)
    check_fit(nodes("m7i.large", 2), None, 2)
    smallest = plan_vector_store(VectorStore(vectors=1000, dimensions=8, replicas=1))
    check_fit(nodes("m7i.large", 2), smallest, 2)


def test_more_replicas_than_nodes_are_refused():
    assert refusal(nodes(count=2)) == (
        "tonnage:vectorStore.replicas: 3, each on a node of its own, but the cluster has 2 x m7i.2xlarge; "
        "limit: 2 system nodes; hint: tonnage:systemNodes.count 3 in the cluster stack, or fewer replicas"
    )


def test_a_replica_larger_than_a_node_is_refused_by_memory_and_by_cpu():
    way_out = "hint: a larger tonnage:systemNodes.instanceType in the cluster stack, more replicas or onDisk: true"
    assert refusal(nodes("m7i.xlarge")) == (
        "tonnage:vectorStore: a replica needs 19.25 GiB, and no node of 3 x m7i.xlarge has it; "
        f"limit: 13.33 GiB beside the pods of every node; {way_out}"
    )
    assert refusal(nodes("m7i.large"), replace(STORE, memory_gib=4.0)) == (
        "tonnage:vectorStore: a replica needs 2.5 CPU, and no node of 3 x m7i.large has it; "
        f"limit: 1.68 CPU beside the pods of every node; {way_out}"
    )


def test_a_volume_larger_than_ebs_makes_is_refused():
    assert refusal(nodes(), replace(STORE, disk_gib=16385)) == (
        "tonnage:vectorStore: a replica needs a volume of 16385 GiB; limit: 16384 GiB, the largest gp3 volume; "
        "hint: more replicas, each with a smaller share"
    )


def test_a_store_that_leaves_the_operators_no_room_is_refused():
    assert refusal(nodes(), replace(STORE, memory_gib=27.0)) == (
        "tonnage:systemNodes: operators, 2 proxies and 3 replicas of the vector store need 86.75 GiB of "
        "3 x m7i.2xlarge; limit: 84.39 GiB beside the pods of every node; "
        "hint: more nodes or a larger instanceType in the cluster stack, or fewer replicas"
    )


def test_more_proxies_than_the_nodes_hold_are_refused():
    assert "operators, 50 proxies and 0 replicas" in refusal(nodes("m7i.large", 2), None, 50)


def test_a_type_with_gpus_and_one_that_a_zone_does_not_sell_are_refused():
    with pytest.raises(BadInput) as gpus:
        check_instance(CATALOGUE.instance("g6.xlarge"), "us-east-1", ZONES, "here")
    assert gpus.value.line() == (
        "here: g6.xlarge has 1 GPU, which no operator uses; limit: a type without GPU; "
        "hint: for example m7i.large; GPU nodes come with the models of a serving stack"
    )
    with pytest.raises(BadInput) as unsold:
        check_instance(CATALOGUE.instance("m7i.large"), "us-west-2", ("usw2-az1", "usw2-az5"), "here")
    assert unsold.value.line() == (
        "here: m7i.large is not sold in usw2-az5; limit: zones that sell it: usw2-az1, usw2-az2, usw2-az3, usw2-az4; "
        "hint: another type, or other zones in tonnage:zoneIds"
    )
