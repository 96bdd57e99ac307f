"""Lengths of prompts and answers in tokens: the moments of their distribution that queues need.

    exponential   without a 95th percentile: p95 = 3 mean, E[x^2] = 2 mean^2, E[x^3] = 6 mean^3
    lognormal     with one: ln x is normal with mean -sigma^2 / 2 (of x / mean) and
                  sigma = 1.645 - sqrt(1.645^2 - 2 ln(p95 / mean)), so p95 / mean <= exp(1.645^2 / 2) = LARGEST_RATIO
    E[x^k]        = exp(k (k - 1) / 2 sigma^2) for x / mean, of lengths cut at ``longest`` tokens
    context       = prompt + E[answer^2] / (2 E[answer])    of a request seen decoding (length bias)
    share left    = E[max(x - k, 0)] / E[x]                 of requests seen decoding, with more than k to come

An exponential length has a longer tail than most traces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

NORMAL_P90, NORMAL_P95 = 1.2816, 1.645
"""90th and 95th percentile of the standard normal distribution."""
LARGEST_RATIO = math.exp(NORMAL_P95**2 / 2)
SHORT_AT = -0.646
"""Quantile of the standard normal distribution at 26 %, the share of an exponential below 0.3 of its mean."""

TAIL_STEPS = 16


@dataclass(frozen=True, slots=True)
class Lengths:
    """One distribution of tokens, relative to its mean."""

    mean: float
    p95_over_mean: float
    second_moment: float
    """E[x^2] / mean^2."""
    third_moment: float
    """E[x^3] / mean^3."""
    short_share: float
    """Length over the mean of the answers at the 95th percentile of TPOT: few steps to spread a prompt over."""

    @property
    def variation(self) -> float:
        """Squared coefficient of variation."""
        return self.second_moment - 1.0

    @property
    def variation_seen(self) -> float:
        """Variance over mean^2 of the tokens written so far: half of a length-biased length."""
        return max(self.third_moment - self.second_moment**2, 0.0) / 4


@dataclass(frozen=True, slots=True)
class RequestLengths:
    """Prompt and answer of a request."""

    prompt: Lengths
    answer: Lengths
    context: float
    """Mean tokens of a request seen decoding: long answers are seen more often than short ones."""


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
    """Return sigma of a lognormal length whose 95th percentile is ``ratio`` times its mean."""
    return NORMAL_P95 - math.sqrt(max(NORMAL_P95**2 - 2 * math.log(ratio), 0.0))


def _moment(order: int, sigma: float, most: float) -> float:
    """E[min(x, most)^order] of a lognormal x of mean 1; never less than with a smaller sigma.

    The cut removes more of a longer tail, so the plain moment would fall with sigma: a longer tail is no less work.
    """
    return max(_cut_moment(order, sigma * step / TAIL_STEPS, most) for step in range(TAIL_STEPS + 1))


def _cut_moment(order: int, sigma: float, most: float) -> float:
    if sigma == 0:
        return 1.0
    cut = math.log(most)
    below = _normal((cut - (order - 0.5) * sigma**2) / sigma)
    above = _normal(-(cut + sigma**2 / 2) / sigma)
    return math.exp(order * (order - 1) / 2 * sigma**2) * below + most**order * above


def share_left(over_mean: float, p95_over_mean: float | None, longest: float) -> float:
    """Return the share of answers in flight that have more than ``over_mean`` of the mean length before them.

    Lengths are cut at ``longest``; both are multiples of the mean. Exponential without a 95th percentile.
    """
    if over_mean >= longest:
        return 0.0
    cut = _excess(longest, p95_over_mean)
    return max(_excess(over_mean, p95_over_mean) - cut, 0.0) / (1.0 - cut)


def _excess(least: float, p95_over_mean: float | None) -> float:
    """E[max(x - least, 0)] of a length x of mean 1."""
    if p95_over_mean is None:
        return math.exp(-least)
    sigma = sigma_of(p95_over_mean)
    if sigma == 0 or least <= 0:
        return max(1.0 - least, 0.0)
    deviations = math.log(least) / sigma
    return _normal(sigma / 2 - deviations) - least * _normal(-sigma / 2 - deviations)


def _normal(deviations: float) -> float:
    """Cumulative distribution function of the standard normal distribution."""
    return math.erfc(-deviations / math.sqrt(2)) / 2
