"""Requests per second that one replica carries within the objectives, at each share of the busiest hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sizing.workload.workload import Workload

QUIETER, FEWEST = (0.9, 0.5, 0.25, 0.1), 1e-9
"""Shares of the busiest hour: those checked for ``scale_out_gain``, and one so low that one replica carries all."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Requests per second that one replica carries within the objectives.

        replicas(share) = prompt requests/s x share / rate at share + batch requests/s / rate at the busiest hour

    Batch requests run in the same steps as the others, so they count at the same rate.
    """

    within: float
    """At the busiest hour."""
    rate_at: Callable[[float], float] | None = field(default=None, compare=False)
    """The rate at a share of the busiest hour; None where it does not depend on the share (Poisson arrivals)."""

    def at_share(self, share: float) -> float:
        """Return the requests per second within the objectives at ``share`` of the busiest hour."""
        return self.within if self.rate_at is None or share in {0.0, 1.0} else self.rate_at(share)

    def batch(self, workload: Workload) -> float:
        """Return the fractional replicas that batch requests take."""
        return workload.batch_requests_per_second / self.within if self.within else 0.0

    def arrivals(self, workload: Workload) -> float:
        """Return the arrivals per second and replica at the busiest hour, batch requests included."""
        return workload.arrivals_per_second / self.replicas(workload)

    @property
    def scale_out_gain(self) -> float:
        """What one more replica adds at the busiest hour over what each carries: it also splits bursts further."""
        if self.rate_at is None:
            return 1.0
        fewer = {share: share * self.within / self.at_share(share) for share in QUIETER}
        return max(1.0, *((1 - share) / (1 - taken) for share, taken in fewer.items() if taken < 1))

    def replicas(self, workload: Workload, share: float = 1.0) -> float:
        """Return the fractional replicas at ``share`` of the busiest hour, batch requests included."""
        return workload.prompt_requests_per_second * share / self.at_share(share) + self.batch(workload)
