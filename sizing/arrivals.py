"""Arrivals that are burstier or smoother than Poisson: how long prompts wait, how the number in flight varies.

Times between arrivals are gamma distributed with the shape that ``vllm bench serve --burstiness`` takes: their squared
coefficient of variation is 1 / burstiness. The share of arrivals that wait is the root of the GI/M/1 queue, exact for
exponential service; other service stretches the waits as Allen and Cunneen do, by (ca2 + cs2) / (ca2 + 1). Of Poisson
arrivals that is the M/G/1 queue of Pollaczek and Khinchine.
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


def wait_of(busy: float, burstiness: float, service_variation: float) -> Wait:
    """Return the waits of a server that is ``busy`` for this share of the time; infinite from 1."""
    arrival_variation = 1 / burstiness
    variation = arrival_variation + service_variation
    if busy >= 1:
        return Wait(1.0, math.inf, variation)
    idle = 1 - busy if burstiness == 1 else _not_delayed(busy, burstiness)
    return Wait(1 - idle, variation / (arrival_variation + 1) / idle, variation)


def _not_delayed(busy: float, burstiness: float) -> float:
    """Share of arrivals that find a GI/M/1 queue with gamma arrivals empty, by Newton's rule from 1, above the root."""
    share, scale = 1.0, burstiness * busy
    for _ in range(NEWTON_STEPS):
        base = 1 + share / scale
        power = math.pow(base, -burstiness)
        step = (1 - share - power) / (power / (busy * base) - 1)
        share -= step
        if abs(step) < CLOSE:
            break
    return share


def peakedness(burstiness: float) -> float:
    """Variance over mean of the number in an infinite server with exponential service: 1 for Poisson arrivals."""
    return 1 + (1 / burstiness - 1) / 2
