"""Failure tolerance: nodes and replicas that one failure takes, and how many survive it.

    none      lost = 0                     needed for n that survive: n
    replica   lost = 1 node                                           n + 1
    zone      lost = ceil(nodes / Z)                                  ceil(n Z / (Z - 1))

Nodes are spread evenly over the ``Z`` zones of their pools. A node is lost with every replica on it.
"""

from __future__ import annotations

import math

from sizing.errors import BadInput
from sizing.inputs import Capacity, ModelEntry
from sizing.plan import LossTolerance


def check_tolerance(entry: ModelEntry, capacity: Capacity) -> None:
    """Raise BadInput for tolerance of a zone with a single zone."""
    if entry.loss_tolerance == "zone" and capacity.zones == 1:
        raise BadInput(
            f"models.{entry.name}.lossTolerance",
            "zone cannot hold in one zone, whose loss takes every replica",
            limit="capacity.zones 2 or more",
            way_out="raise capacity.zones or state lossTolerance: replica",
        )


def lost_nodes(nodes: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the most of ``nodes`` that one failure takes."""
    if tolerance == "none":
        return 0
    return min(nodes, 1) if tolerance == "replica" else math.ceil(nodes / zones)


def nodes_that_survive(needed: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the fewest nodes of which ``needed`` survive one failure; tolerance of a zone takes two zones or more."""
    if tolerance == "none":
        return needed
    return needed + 1 if tolerance == "replica" else math.ceil(needed * zones / (zones - 1))


def lost_replicas(replicas: int, per_node: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the most of ``replicas``, ``per_node`` on a node, that one failure takes."""
    return min(lost_nodes(math.ceil(replicas / per_node), tolerance, zones) * per_node, replicas)


def replicas_that_survive(needed: int, per_node: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the fewest replicas, not rounded to whole nodes, of which ``needed`` survive one failure."""
    count = needed
    while count - lost_replicas(count, per_node, tolerance, zones) < needed:
        count += 1
    return count
