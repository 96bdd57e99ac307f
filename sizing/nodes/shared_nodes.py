"""Nodes that several models share: how many they need, what they cost, and each model's part.

    closed(g) = min(floor(used / (G - g + s)), floor(rounded / G))    nodes that the other pods can leave without room
    nodes     = max over g of closed(g) + 1                           for a pod of g GPUs

``G``: GPUs of a node. ``s``: GPUs of the narrowest of the other pods (at most g). ``used``: GPUs of the other pods;
``rounded``: the same with each pod at least g wide. GPU counts are powers of two.

A shared pool promises what a pool of one model promises: every pod that the plan counts finds room, in whatever order
pods come and go. The scheduler spreads pods instead of packing them, so the count of first-fit decreasing (total GPUs /
G) would leave wide pods Pending behind narrow ones. For pods of one width both counts are equal.

Only GPUs are counted: each pod of ``g`` GPUs requests at most ``g / G`` of a node's vCPU, memory and disk
(``serving.pod``: ``fits_node``, ``disk``), so whatever fits by GPUs fits.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sizing.plan import Bounds, Disk, Replicas


@dataclass(frozen=True, kw_only=True)
class SharedDemand:
    """What one model needs of shared nodes: GPUs of a replica, and replicas not rounded to whole nodes."""

    gpus: int
    replicas: Replicas


def nodes_in_any_order(pods: Sequence[tuple[int, int]], node_gpus: int) -> int:
    """Return the nodes on which all ``pods`` (GPUs, count) find room in any order and placement.

    A node has no room for ``g`` GPUs when more than ``G - g`` are in use, which powers of two make ``G - g + s`` or
    more. With every pod narrower than ``g`` counted as ``g``, its pods add up to ``G`` or more. Both bound the nodes
    without room; one node more has some.
    """
    counts: Counter[int] = Counter()
    for gpus, count in pods:
        counts[gpus] += count
    present = {gpus: count for gpus, count in counts.items() if count}
    if len(present) == 1:
        return math.ceil(sum(gpus * count for gpus, count in present.items()) / node_gpus)
    return max((_closed(gpus, present, node_gpus) + 1 for gpus in present), default=0)


def _closed(gpus: int, pods: dict[int, int], node_gpus: int) -> int:
    """Return ``closed``: the most nodes without room for a pod of ``gpus`` while all other pods run."""
    others = Counter(pods)
    others[gpus] -= 1
    narrowest = min((size for size, count in others.items() if count and size < gpus), default=gpus)
    in_use = sum(size * count for size, count in others.items())
    ranges = sum(max(size, gpus) * count for size, count in others.items())
    return min(in_use // (node_gpus - gpus + narrowest), ranges // node_gpus)


def shared_nodes(models: Sequence[SharedDemand], node_gpus: int) -> Replicas:
    """Return the nodes of all models together, as the replicas of a model of one replica a node.

    By hour where one states ``dailyShape``; a model without it has its busiest hour all day.
    """

    def nodes(counts: Sequence[int]) -> int:
        return nodes_in_any_order([(one.gpus, n) for one, n in zip(models, counts, strict=True)], node_gpus)

    hours = max(len(one.replicas.by_hour) for one in models)
    days = [one.replicas.by_hour or (one.replicas.expected,) * hours for one in models]
    return Replicas(
        floor=nodes([one.replicas.floor for one in models]),
        expected=nodes([one.replicas.expected for one in models]),
        ceiling=nodes([one.replicas.ceiling for one in models]),
        by_hour=tuple(nodes(counts) for counts in zip(*days, strict=True)),
    )


def shared_disk(disks: Sequence[Disk]) -> Disk:
    """Return the root volume of a shared node: the largest, as each model may fill a node alone."""
    return max(disks, key=lambda disk: (disk.size_gib, disk.throughput_mib_per_s, disk.iops))


def parts(usd_per_hour: Bounds, models: Sequence[SharedDemand]) -> list[Bounds]:
    """Return each model's part of the cost of the nodes; floors, expected and ceilings add up to the whole.

    Each is divided by GPUs: the floor, what the planned traffic adds to it, and what the ceiling adds to that. So each
    model's floor <= expected <= ceiling.
    """
    floors = [one.gpus * one.replicas.floor for one in models]
    added = [one.gpus * (one.replicas.mean - one.replicas.floor) for one in models]
    more = [one.gpus * (one.replicas.ceiling - one.replicas.expected) for one in models]
    most = [one.gpus * one.replicas.ceiling for one in models]
    floor = _divided(usd_per_hour.floor, floors, most)
    expected = _divided(usd_per_hour.expected - usd_per_hour.floor, added, most)
    ceiling = _divided(usd_per_hour.ceiling - usd_per_hour.expected, more, most)
    return [
        Bounds(floor=one, expected=one + two, ceiling=one + two + three)
        for one, two, three in zip(floor, expected, ceiling, strict=True)
    ]


def summed(several: Iterable[Bounds]) -> Bounds:
    """Return the bounds of all together."""
    rows = list(several)
    return Bounds(
        floor=sum(one.floor for one in rows),
        expected=sum(one.expected for one in rows),
        ceiling=sum(one.ceiling for one in rows),
    )


def _divided(usd: float, gpus: Sequence[float], otherwise: Sequence[float]) -> list[float]:
    """Divide in proportion to ``gpus``, to ``otherwise`` where all are 0."""
    weights = gpus if any(gpus) else otherwise
    return [usd * weight / sum(weights) for weight in weights]
