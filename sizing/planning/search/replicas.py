"""Replicas at the floor, on average and at the most traffic."""

from __future__ import annotations

import math

from sizing.inputs import ModelEntry
from sizing.nodes.loss_tolerance import nodes_that_survive, replicas_that_survive
from sizing.plan import LossTolerance, Replicas
from sizing.planning.search.rates import Rates

MOST_REPLICAS = 1000
"""More replicas than this is not one stack (the same limit as ``replicas`` in the settings)."""


def whole_replicas(parts: float, per_node: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the replicas on whole nodes that still hold ``parts`` (fractional replicas) after the tolerated failure.

    nodes = ceil(ceil(parts) / per_node), and as many more as survive the failure need
    """
    nodes = math.ceil(math.ceil(parts - 1e-9) / per_node)
    return nodes_that_survive(nodes, tolerance, zones) * per_node if nodes else 0


def replicas_of(entry: ModelEntry, rates: Rates, per_node: int, zones: int) -> Replicas | str:
    """Return the replica counts where one replica carries ``rates``, or why there are none.

    Counts are multiples of the replicas per node and include the reserve for ``lossTolerance`` in ``zones`` zones. The
    floor is for requests with objectives, not for batch requests.
    """
    workload, bounds, tolerance = entry.workload, entry.replicas, entry.loss_tolerance

    def needed(share: float, aside: float = 0.0) -> int:
        return whole_replicas(rates.replicas(workload, share) - aside, per_node, tolerance, zones)

    batch = rates.batch(workload)
    least = max(needed(workload.minimum_share, batch), whole_replicas(1, per_node, tolerance, zones))
    floor = (0 if entry.scale_to_zero else least) if bounds.floor is None else bounds.floor
    expected = max(needed(1.0), floor, 1)
    ceiling = max(needed(workload.peak_factor), expected)
    if ceiling > MOST_REPLICAS:
        return f"needs {ceiling} replicas at the peak, more than {MOST_REPLICAS}"
    if bounds.ceiling is not None:
        carried = math.ceil(rates.replicas(workload) - 1e-9)
        fewest = max(replicas_that_survive(carried, per_node, tolerance, zones), floor)
        if bounds.ceiling < fewest:
            kept = "" if tolerance == "none" else f" with lossTolerance {tolerance}"
            return f"needs {fewest} replicas for requestsPerSecond{kept}, replicas.ceiling allows {bounds.ceiling}"
        floor, expected, ceiling = min(floor, bounds.ceiling), min(expected, bounds.ceiling), bounds.ceiling
    by_hour = tuple(min(max(needed(share), floor), expected) for share in workload.daily_shape or ())
    return Replicas(floor=floor, expected=expected, ceiling=ceiling, batch=batch, by_hour=by_hour)
