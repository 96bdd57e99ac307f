"""What the loss of one node or of one zone takes from a model, and how many nodes carry its traffic all the same.

A node leaves with every replica on it. Nodes are spread evenly over the ``Z`` zones of their pools, so the fullest zone
holds ``ceil(nodes / Z)`` of them; the fewest nodes of which ``n`` are left without it are ``ceil(n Z / (Z - 1))``.
"""

from __future__ import annotations

import math

from sizing.errors import BadInput
from sizing.inputs import Capacity, ModelEntry
from sizing.plan import LossTolerance


def check_tolerance(entry: ModelEntry, capacity: Capacity) -> None:
    """Raise BadInput where the loss of a zone is to be survived in one zone."""
    if entry.loss_tolerance == "zone" and capacity.zones == 1:
        raise BadInput(
            f"models.{entry.name}.lossTolerance",
            "zone cannot hold in one zone, whose loss takes every replica",
            limit="capacity.zones 2 or more",
            way_out="raise capacity.zones or state lossTolerance: replica",
        )


def lost_nodes(nodes: int, tolerance: LossTolerance, zones: int) -> int:
    """Return how many of ``nodes`` the loss takes at most."""
    if tolerance == "none":
        return 0
    return min(nodes, 1) if tolerance == "replica" else math.ceil(nodes / zones)


def nodes_that_survive(needed: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the fewest nodes of which ``needed`` are left after the loss; a zone needs two zones or more."""
    if tolerance == "none":
        return needed
    return needed + 1 if tolerance == "replica" else math.ceil(needed * zones / (zones - 1))


def lost_replicas(replicas: int, per_node: int, tolerance: LossTolerance, zones: int) -> int:
    """Return how many of ``replicas`` on nodes of ``per_node`` the loss takes at most."""
    return min(lost_nodes(math.ceil(replicas / per_node), tolerance, zones) * per_node, replicas)


def replicas_that_survive(needed: int, per_node: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the fewest replicas, not in whole nodes, of which ``needed`` are left after the loss."""
    count = needed
    while count - lost_replicas(count, per_node, tolerance, zones) < needed:
        count += 1
    return count
