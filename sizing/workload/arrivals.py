"""Arrivals that are burstier or smoother than Poisson: how long prompts wait, how the number in flight varies.

Times between arrivals at the gateway are gamma distributed with the shape that ``vllm bench serve --burstiness`` takes:
their squared coefficient of variation is 1 / burstiness. A replica takes a share of them, each by chance: between two
of its own lie geometrically many gaps, so theirs is 1 + share x (1 / burstiness - 1), and bursts fade as replicas share
them. A gateway that looks at the load of replicas spreads more evenly than chance.

The share of arrivals that wait is the root of the GI/M/1 queue with these gaps, exact for exponential service; other
service stretches the waits as Allen and Cunneen do, by (ca2 + cs2) / (ca2 + 1). Of Poisson arrivals that is the M/G/1
queue of Pollaczek and Khinchine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

NEWTON_STEPS = 30
CLOSE = 1e-10


class Wait(NamedTuple):
    """Waits in units of the mean service time: zero for some arrivals, exponential for the share ``delayed``."""

    delayed: float
    mean_if_delayed: float
    variation: float
    """Squared coefficients of variation of arrivals and service together."""

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
    """Arrivals at one replica: the burstiness of all, and the share that it takes."""

    burstiness: float
    share: float = 1.0

    @property
    def variation(self) -> float:
        """Squared coefficient of variation of the times between them; 1 for Poisson arrivals."""
        return 1 + self.share * (1 / self.burstiness - 1)

    @property
    def peakedness(self) -> float:
        """Variance over mean of the number in an infinite server with exponential service: 1 for Poisson arrivals."""
        return 1 + (self.variation - 1) / 2


POISSON = Arrivals(1.0)


def wait_of(busy: float, arrivals: Arrivals, service_variation: float) -> Wait:
    """Return the waits of a server that is ``busy`` for this share of the time; infinite from 1."""
    arrival_variation = arrivals.variation
    variation = arrival_variation + service_variation
    if busy >= 1:
        return Wait(1.0, math.inf, variation)
    idle = 1 - busy if arrivals.burstiness == 1 else _not_delayed(busy, arrivals)
    return Wait(1 - idle, variation / (arrival_variation + 1) / idle, variation)


def _not_delayed(busy: float, arrivals: Arrivals) -> float:
    """Share of arrivals that find a GI/M/1 queue empty, by Newton's rule from 1, above the root."""
    burstiness, share = arrivals
    idle, rate = 1.0, share / busy  # of service over all arrivals
    for _ in range(NEWTON_STEPS):
        base = 1 + idle * rate / burstiness
        gap = math.pow(base, -burstiness)  # Laplace transforms of the gaps of all, and of those between its own
        rest = 1 - (1 - share) * gap
        slope = share * gap * rate / (base * rest * rest)
        step = (1 - idle - share * gap / rest) / (slope - 1)
        idle -= step
        if abs(step) < CLOSE:
            break
    return idle
