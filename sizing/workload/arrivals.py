"""Arrivals that are burstier or smoother than Poisson: how long prompts wait, how the number in flight varies.

    ca2     = 1 + share x (1 / burstiness - 1)          squared coefficient of variation of the times between arrivals
    z       = 1 + (ca2 - 1) / 2                         peakedness: variance over mean of the number in flight
    delayed = root of delayed = A(mu (1 - delayed))     share of arrivals that wait (GI/M/1); rho for Poisson
    W       = delayed x (ca2 + cs2) / (ca2 + 1) / (1 - delayed)    mean wait, in mean service times
    P(wait > t) = delayed x exp(-t / mean wait of those that wait)

``burstiness``: shape of the gamma distribution of the times between arrivals at the gateway, as ``vllm bench serve
--burstiness`` takes it. ``share``: of the arrivals, each by chance, that one replica takes: bursts fade as replicas
share them (a gateway that weighs load spreads more evenly). ``A``: Laplace transform of the times between arrivals at
the replica, ``mu`` its service rate, ``rho`` its utilisation, ``cs2`` the squared coefficient of variation of service.

Exact for exponential service (GI/M/1) and for Poisson arrivals (Pollaczek-Khinchine); else Allen and Cunneen's
approximation of GI/G/1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

NEWTON_STEPS = 30
CLOSE = 1e-10


class Wait(NamedTuple):
    """Waits in units of the mean service time: exponential for the share ``delayed``, zero for the others."""

    delayed: float
    mean_if_delayed: float
    variation: float
    """ca2 + cs2."""

    @property
    def mean(self) -> float:
        """Mean over all arrivals."""
        return self.delayed * self.mean_if_delayed

    @property
    def variance(self) -> float:
        """Variance over all arrivals."""
        return self.mean_if_delayed**2 * self.delayed * (2 - self.delayed)

    @property
    def p95(self) -> float:
        """95th percentile over all arrivals."""
        return self.mean_if_delayed * math.log(self.delayed / 0.05) if self.delayed > 0.05 else 0.0


class Arrivals(NamedTuple):
    """Arrivals at one replica: burstiness at the gateway, and the share that the replica takes."""

    burstiness: float
    share: float = 1.0

    @property
    def variation(self) -> float:
        """ca2; 1 for Poisson arrivals."""
        return 1 + self.share * (1 / self.burstiness - 1)

    @property
    def peakedness(self) -> float:
        """z: variance over mean of the number in flight with exponential service and no queue; 1 for Poisson."""
        return 1 + (self.variation - 1) / 2


POISSON = Arrivals(1.0)


def wait_of(utilisation: float, arrivals: Arrivals, service_variation: float) -> Wait:
    """Return the waits in a queue of this utilisation; infinite from 1."""
    arrival_variation = arrivals.variation
    variation = arrival_variation + service_variation
    if utilisation >= 1:
        return Wait(1.0, math.inf, variation)
    idle = 1 - utilisation if arrivals.burstiness == 1 else _not_delayed(utilisation, arrivals)
    return Wait(1 - idle, variation / (arrival_variation + 1) / idle, variation)


def _not_delayed(utilisation: float, arrivals: Arrivals) -> float:
    """1 - ``delayed``: share of arrivals that find a GI/M/1 queue empty, by Newton's method from 1, above the root."""
    burstiness, share = arrivals
    idle, rate = 1.0, share / utilisation  # of service over all arrivals
    for _ in range(NEWTON_STEPS):
        base = 1 + idle * rate / burstiness
        gap = math.pow(base, -burstiness)  # Laplace transforms at the gateway, and below at the replica
        rest = 1 - (1 - share) * gap
        slope = share * gap * rate / (base * rest * rest)
        step = (1 - idle - share * gap / rest) / (slope - 1)
        idle -= step
        if abs(step) < CLOSE:
            break
    return idle
