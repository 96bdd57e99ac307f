"""Nodes that models share: enough for every order of their pods, divided among them to the cent."""

from __future__ import annotations

import math
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.engine.settings import resolve_engine
from sizing.inputs import EngineOverrides
from sizing.nodes.shared_nodes import SharedDemand, nodes_in_any_order, parts, shared_disk, shared_nodes
from sizing.plan import Bounds, Replicas
from sizing.serving.pod import disk, fits_node, pod_resources

CATALOGUE = load_catalogue()
WIDTHS = st.sampled_from((1, 2, 4, 8))


def first_fit_decreasing(pods: list[int], node_gpus: int) -> int:
    free: list[int] = []
    for gpus in sorted(pods, reverse=True):
        node = next((place for place, left in enumerate(free) if left >= gpus), len(free))
        free += [node_gpus] if node == len(free) else []
        free[node] -= gpus
    return len(free)


def some_order_fails(pods: list[int], nodes: int, node_gpus: int) -> bool:
    """Try every order of arrival with every choice of node."""

    @cache
    def fails(free: tuple[int, ...], left: tuple[int, ...]) -> bool:
        for gpus in set(left):
            rest = list(left)
            rest.remove(gpus)
            places = {room for room in free if room >= gpus}
            if not places:
                return True
            for room in places:
                after = list(free)
                after[after.index(room)] -= gpus
                if fails(tuple(sorted(after)), tuple(rest)):
                    return True
        return False

    return fails((node_gpus,) * nodes, tuple(sorted(pods)))


def counted(pods: list[int]) -> list[tuple[int, int]]:
    return [(gpus, pods.count(gpus)) for gpus in sorted(set(pods))]


@pytest.mark.parametrize(
    ("pods", "nodes"),
    [
        ([(4, 1), (4, 1)], 1),  # two models at TP4 take one node of eight
        ([(4, 3), (4, 2)], 3),
        ([(4, 1), (1, 4)], 1),  # a node is closed to TP4 by five narrow pods, four cannot
        ([(4, 1), (1, 5)], 2),
        ([(8, 1), (4, 2)], 3),  # the narrow pods may lie on two nodes
        ([(8, 0), (4, 2)], 1),  # pods that do not run close nothing
        ([], 0),
    ],
)
def test_nodes_hold_all_pods_wherever_the_first_ones_are(pods, nodes):
    assert nodes_in_any_order(pods, 8) == nodes


@settings(max_examples=60, deadline=None)
@given(pods=st.lists(WIDTHS, min_size=1, max_size=6), node_gpus=st.sampled_from((4, 8)))
def test_no_order_of_arrival_leaves_a_pod_without_room(pods, node_gpus):
    pods = [min(gpus, node_gpus) for gpus in pods]
    nodes = nodes_in_any_order(counted(pods), node_gpus)
    assert not some_order_fails(pods, nodes, node_gpus)
    packed = first_fit_decreasing(pods, node_gpus)
    assert packed == math.ceil(sum(pods) / node_gpus)  # exact for powers of two
    assert nodes >= packed
    assert nodes == packed or len(set(pods)) > 1


@given(pods=st.lists(WIDTHS, min_size=1, max_size=30), more=WIDTHS)
def test_a_pod_more_never_needs_fewer_nodes(pods, more):
    assert nodes_in_any_order(counted([*pods, more]), 8) >= nodes_in_any_order(counted(pods), 8)


def test_every_machine_has_a_power_of_two_of_gpus_as_the_count_of_nodes_supposes():
    counts = {one.gpus for one in CATALOGUE.all_instances if one.gpus}
    assert all(count & (count - 1) == 0 for count in counts), counts


def test_any_mix_of_pods_that_fill_a_node_alone_fits_it_together():
    model = CATALOGUE.model("meta-llama/Llama-3.1-8B-Instruct")
    tried = 0
    for machine in (one for one in CATALOGUE.all_instances if one.gpus == 8 and one.gpu):
        gpu = CATALOGUE.gpu(machine.gpu)
        sizes = {
            tensor: resolve_engine(model, gpu, EngineOverrides(), tensor_parallel=tensor, pipeline_parallel=1)
            for tensor in (1, 2, 4)
        }
        pods = {tensor: pod_resources(engine, 10**10 * tensor**2) for tensor, engine in sizes.items()}
        fitting = [pod for pod in pods.values() if fits_node(pod, machine)]
        largest = shared_disk([disk(pod, machine) for pod in fitting]) if fitting else None
        for ones, twos, fours in ((4, 2, 0), (2, 1, 1), (4, 0, 1), (0, 2, 1)):
            mix = [pods[1]] * ones + [pods[2]] * twos + [pods[4]] * fours
            if largest is None or any(pod not in fitting for pod in mix):
                continue
            tried += 1
            assert sum(pod.cpu for pod in mix) <= machine.allocatable_cpu
            assert sum(pod.memory_gib for pod in mix) <= machine.allocatable_memory_gib
            assert sum(pod.ephemeral_gib for pod in mix) <= 0.9 * largest.size_gib - 1
    assert tried


@st.composite
def tenants(draw):
    counts = sorted(draw(st.lists(st.integers(0, 40), min_size=3, max_size=3)))
    replicas = Replicas(floor=counts[0], expected=max(counts[1], 1), ceiling=max(counts[2], 1))
    return SharedDemand(gpus=draw(st.sampled_from((1, 2, 4))), replicas=replicas)


@given(several=st.lists(tenants(), min_size=2, max_size=4), price=st.floats(0.1, 100), spot=st.floats(0.1, 1))
def test_parts_add_up_to_the_whole_and_stay_in_order(several, price, spot):
    nodes = shared_nodes(several, 8)
    assert nodes.floor <= nodes.expected <= nodes.ceiling
    expected = nodes.floor * price + (nodes.expected - nodes.floor) * price * spot
    whole = Bounds(floor=nodes.floor * price, expected=expected, ceiling=nodes.ceiling * price)
    made = parts(whole, several)
    for bound in ("floor", "expected", "ceiling"):
        assert sum(getattr(one, bound) for one in made) == pytest.approx(getattr(whole, bound))
    assert all(0 <= one.floor <= one.expected <= one.ceiling for one in made)


def test_parts_are_those_of_the_gpus():
    wide = SharedDemand(gpus=4, replicas=Replicas(floor=1, expected=2, ceiling=2))
    narrow = SharedDemand(gpus=1, replicas=Replicas(floor=1, expected=5, ceiling=9))
    whole = Bounds(floor=20.0, expected=30.0, ceiling=60.0)
    assert parts(whole, [wide, narrow]) == [
        Bounds(floor=16.0, expected=21.0, ceiling=21.0),
        Bounds(floor=4.0, expected=9.0, ceiling=39.0),
    ]
