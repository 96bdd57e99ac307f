"""Where the replicas of a model may be: spread over zones, and its pools in the order of preference."""

from __future__ import annotations

import math

from sizing.plan import LossTolerance, Replicas
from sizing.plan.operation import Placement


def placement(
    replicas: Replicas, *, per_node: int, zones: int, pools: int, tolerance: LossTolerance, shared: bool
) -> Placement:
    """Return the spread over zones and the weight of each pool; ``shared`` where other models run on the nodes.

    Two replicas that always run must not share a zone, so the spread is a condition where all replicas always run and
    there are two. Where Karpenter buys for more it is best effort: under a condition it buys in the emptiest zone or
    nothing, and one that is lost or sold out stops every further replica (kubernetes-sigs/karpenter#3272; seen in the
    rehearsal of a zone loss). It is best effort too on nodes that models share, where another model may fill a zone
    that is in its turn. Where the loss of a zone is planned for, no zone may hold more than a node above the others;
    what is left then carries the load without further nodes.
    """
    even = tolerance == "zone"
    always = replicas.floor >= 2 and replicas.floor == replicas.ceiling
    strict = even or (always and zones >= 2 and not shared)
    skew = per_node if even else replicas.ceiling // 2
    return Placement(
        max_skew=max(1, skew) if strict else 1,
        when_unsatisfiable="DoNotSchedule" if strict else "ScheduleAnyway",
        pool_weights=pool_weights(pools),
    )


def pool_weights(pools: int) -> tuple[int, ...]:
    """Return the weight of each pool by its place, from 100 downwards in equal steps; a single pool needs none."""
    return tuple(math.ceil(100 * (pools - place) / pools) for place in range(pools)) if pools > 1 else ()
