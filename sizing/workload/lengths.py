"""Lengths of requests around their mean: what the queue needs to know of a distribution of tokens.

Stated by its mean alone, a length is exponential (coefficient of variation 1), which is longer in the tail than most
traces. With a 95th percentile it is lognormal with both; no lognormal has one above ``LARGEST_RATIO`` times its mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

NORMAL_P90, NORMAL_P95 = 1.2816, 1.645
"""Standard deviations of the 90th and the 95th percentile of a normal distribution."""
LARGEST_RATIO = math.exp(NORMAL_P95**2 / 2)
SHORT_AT = -0.646
"""Standard deviations at which a normal distribution has 26 % below it, as an exponential has below 0.3 of its mean."""

TAIL_STEPS = 16


@dataclass(frozen=True, slots=True)
class Lengths:
    """One distribution of tokens, relative to its mean."""

    mean: float
    p95_over_mean: float
    second_moment: float
    """Mean of the square over the square of the mean."""
    third_moment: float
    """Mean of the cube over the cube of the mean."""
    short_share: float
    """Length over the mean of the answers whose TPOT is the 95th percentile: few steps to spread a prompt over."""

    @property
    def variation(self) -> float:
        """Squared coefficient of variation."""
        return self.second_moment - 1.0

    @property
    def variation_seen(self) -> float:
        """The same of half a length that is seen underway, where long ones are seen more often; over the mean."""
        return max(self.third_moment - self.second_moment**2, 0.0) / 4


@dataclass(frozen=True, slots=True)
class RequestLengths:
    """Prompt and answer of a request."""

    prompt: Lengths
    answer: Lengths
    context: float
    """Mean tokens of a request that is seen decoding: long answers are seen more often than short ones."""


@lru_cache(maxsize=1024)
def request_lengths(
    input_tokens: int, input_p95: int | None, output_tokens: int, output_p95: int | None, longest: int
) -> RequestLengths:
    """Return the lengths of requests that are cut at ``longest`` tokens."""
    prompt, answer = lengths_of(input_tokens, input_p95, longest), lengths_of(output_tokens, output_p95, longest)
    return RequestLengths(prompt, answer, prompt.mean + answer.mean * answer.second_moment / 2)


def lengths_of(mean: int, p95: int | None, longest: int) -> Lengths:
    """Return lengths of this mean and 95th percentile that are cut at ``longest`` tokens; exponential without one."""
    if p95 is None:
        return Lengths(float(mean), 3.0, 2.0, 6.0, 0.3)
    sigma = sigma_of(p95 / mean)
    return Lengths(
        mean=float(mean),
        p95_over_mean=p95 / mean,
        second_moment=_moment(2, sigma, longest / mean),
        third_moment=_moment(3, sigma, longest / mean),
        short_share=math.exp(SHORT_AT * sigma - sigma**2 / 2),
    )


def sigma_of(ratio: float) -> float:
    """Return the standard deviation of the logarithm of a lognormal length whose 95th percentile is so many means."""
    return NORMAL_P95 - math.sqrt(max(NORMAL_P95**2 - 2 * math.log(ratio), 0.0))


def _moment(order: int, sigma: float, most: float) -> float:
    """Mean power of this order of a lognormal length of mean 1 that is cut at ``most``.

    Of longer and longer tails the cut takes ever more; a long tail is never taken for less work than a shorter one.
    """
    return max(_cut_moment(order, sigma * step / TAIL_STEPS, most) for step in range(TAIL_STEPS + 1))


def _cut_moment(order: int, sigma: float, most: float) -> float:
    if sigma == 0:
        return 1.0
    cut = math.log(most)
    below = _normal((cut - (order - 0.5) * sigma**2) / sigma)
    above = _normal(-(cut + sigma**2 / 2) / sigma)
    return math.exp(order * (order - 1) / 2 * sigma**2) * below + most**order * above


def _normal(deviations: float) -> float:
    """Share of a normal distribution below so many standard deviations."""
    return math.erfc(-deviations / math.sqrt(2)) / 2
