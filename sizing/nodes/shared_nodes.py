"""Nodes that several models share: how many they need, what they cost, and each model's part.

A shared pool promises what a pool of one model's own promises: every pod that the plan counts finds room, in whatever
order pods come and go. The scheduler spreads pods instead of packing them, so a count by first-fit decreasing (which
for GPU counts that are powers of two is just the GPUs over those of a node) would leave wide pods Pending behind
narrow ones that lie on many nodes. ``nodes_in_any_order`` counts nodes so that this cannot happen; for pods of one
width both counts are equal.

GPUs decide alone. Each pod of ``g`` GPUs asks for at most ``g / G`` of what a node of ``G`` GPUs has of vCPU, memory
and disk, because ``serving.fits_node`` and ``serving.disk`` hold a node full of it; so do pods that take at most ``G``
GPUs together, whatever the mix, on a node with the largest of their disks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sizing.plan import Bounds, Disk, Replicas


@dataclass(frozen=True, kw_only=True)
class SharedDemand:
    """What one model needs of shared nodes: replicas that are not rounded to whole nodes, GPUs of each."""

    gpus: int
    replicas: Replicas


def nodes_in_any_order(pods: Sequence[tuple[int, int]], node_gpus: int) -> int:
    """Return the nodes on which all ``pods`` (GPUs, count) find room, whichever of them come first and wherever.

    A pod of ``g`` GPUs finds none on a node with more than ``G - g`` GPUs in use. Pods are powers of two, so such a
    node has at least ``G - g + s`` in use, ``s`` being the narrowest pod; and its narrower pods lie in so many ranges
    of ``g`` that it counts as full with each of them taken as ``g`` wide. Both bound the nodes that the other pods
    can close; one node more has room.
    """
    counts: Counter[int] = Counter()
    for gpus, count in pods:
        counts[gpus] += count
    present = {gpus: count for gpus, count in counts.items() if count}
    if len(present) == 1:
        return math.ceil(sum(gpus * count for gpus, count in present.items()) / node_gpus)
    return max((_closed(gpus, present, node_gpus) + 1 for gpus in present), default=0)


def _closed(gpus: int, pods: dict[int, int], node_gpus: int) -> int:
    """Return how many nodes can be without room for one pod of ``gpus`` while all the others run."""
    others = Counter(pods)
    others[gpus] -= 1
    narrowest = min((size for size, count in others.items() if count and size < gpus), default=gpus)
    in_use = sum(size * count for size, count in others.items())
    ranges = sum(max(size, gpus) * count for size, count in others.items())
    return min(in_use // (node_gpus - gpus + narrowest), ranges // node_gpus)


def shared_nodes(tenants: Sequence[SharedDemand], node_gpus: int) -> Replicas:
    """Return the nodes of all tenants together, in the form of the replicas of which each is a whole node.

    Where a day is stated, hour by hour; a model of which none is stated is at its busiest in all of them.
    """

    def nodes(counts: Sequence[int]) -> int:
        return nodes_in_any_order([(one.gpus, n) for one, n in zip(tenants, counts, strict=True)], node_gpus)

    hours = max(len(one.replicas.by_hour) for one in tenants)
    days = [one.replicas.by_hour or (one.replicas.expected,) * hours for one in tenants]
    return Replicas(
        floor=nodes([one.replicas.floor for one in tenants]),
        expected=nodes([one.replicas.expected for one in tenants]),
        ceiling=nodes([one.replicas.ceiling for one in tenants]),
        by_hour=tuple(nodes(counts) for counts in zip(*days, strict=True)),
    )


def shared_disk(disks: Sequence[Disk]) -> Disk:
    """Return the root volume of a shared node: any of the models may fill a node alone, so the largest."""
    return max(disks, key=lambda disk: (disk.size_gib, disk.throughput_mib_per_s, disk.iops))


def parts(usd_per_hour: Bounds, tenants: Sequence[SharedDemand]) -> list[Bounds]:
    """Return each tenant's part of the cost of the nodes; floors, expected and ceilings add up to the whole.

    The floor is divided by the GPUs that run always, what the planned traffic adds by the GPUs it adds, and what the
    most traffic adds by those: so no tenant's floor is above its expected cost, nor that above its ceiling.
    """
    floors = [one.gpus * one.replicas.floor for one in tenants]
    added = [one.gpus * (one.replicas.mean - one.replicas.floor) for one in tenants]
    more = [one.gpus * (one.replicas.ceiling - one.replicas.expected) for one in tenants]
    most = [one.gpus * one.replicas.ceiling for one in tenants]
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
    """Divide by ``gpus``, or by ``otherwise`` where there are none."""
    weights = gpus if any(gpus) else otherwise
    return [usd * weight / sum(weights) for weight in weights]
