"""Requests per second that one replica carries within the objectives, at each share of the busiest hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sizing.workload.workload import Workload

QUIETER, FEWEST = (0.9, 0.5, 0.25, 0.1), 1e-9
"""Shares of the busiest hour: those at which no fewer replicas must be asked for than are needed, and one that a single
replica takes whole."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests per second that one replica carries within the objectives.

    Requests that may wait share the replicas, and so the steps, of the others: they count at the same rate.
    """

    within: float
    """At the busiest hour."""
    rate_at: Callable[[float], float] | None = field(default=None, compare=False)
    """Within the objectives at a share of the busiest hour, where the arrivals of one replica hang on how many share
    them."""

    def at_share(self, share: float) -> float:
        """Return the requests per second within the objectives at ``share`` of the busiest hour."""
        return self.within if self.rate_at is None or share in {0.0, 1.0} else self.rate_at(share)

    def batch(self, workload: Workload) -> float:
        """Return the parts of replicas that requests which may wait take."""
        return workload.batch_requests_per_second / self.within if self.within else 0.0

    def arrivals(self, workload: Workload) -> float:
        """Return the arrivals per second, of both kinds, for each replica that they take at the busiest hour."""
        return workload.arrivals_per_second / self.replicas(workload)

    @property
    def scale_out_gain(self) -> float:
        """What one replica more adds at the busiest hour, over what each carries: it also thins others' bursts."""
        if self.rate_at is None:
            return 1.0
        fewer = {share: share * self.within / self.at_share(share) for share in QUIETER}
        return max(1.0, *((1 - share) / (1 - taken) for share, taken in fewer.items() if taken < 1))

    def replicas(self, workload: Workload, share: float = 1.0) -> float:
        """Return the parts of replicas that all take, where the objectives are for ``share`` of their busiest hour."""
        return workload.prompt_requests_per_second * share / self.at_share(share) + self.batch(workload)
