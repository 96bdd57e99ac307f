"""Open-loop traffic on one replica: requests in flight, and the 95th percentiles of TTFT and TPOT.

    rate     = C / cycle(C)                                     Little's law
    var      = z rate / (d rate / dC), at most z C (1 + C)      of the number in flight; z C where none slows another
    C95      = C + 1.645 sqrt(var)                              p95 concurrency
    met      = max(z - 1, 0) var / (z C)                        requests of its own burst that a request meets
    step95   = step(C95 + met)
    KV95     = C L + 1.645 sqrt(var L^2 + C var_L)
    TTFT p95 = step95 + prompt95 / (1 - rho)                    rho = rate (prefill + step x prompt / chunk)
    D        = n step95 + (W + max(z - 1, 0)) prefill
    V        = rate (ca2 + cs2) prefill^2 D / (1 - rho)^3 + (Var W - Var W of M/M/1) (prefill / (1 - rho))^2
    TPOT p95 = (D / (1 - rho) + 1.645 sqrt(V)) / n              rho = rate prefill

    C, C95     requests in flight, mean and 95th percentile; C95 must fit the slots, KV95 (tokens) the KV cache
    cycle      seconds in which each of C requests is served once; with ``step`` in ``sizing.performance.roofline``
    z          peakedness of arrivals, 1 for Poisson (``sizing.workload.arrivals``)
    L, var_L   tokens of a request seen decoding, and their variance (``sizing.workload.lengths``)
    rho        utilisation: share of the time that prompts take
    prefill    seconds that one prompt adds to the steps of the others
    prompt95   seconds from the start of a prefill to its first token, at the 95th percentile of lengths
    n          tokens of a short answer, which has the 95th percentile of TPOT
    W          wait of a prompt for those before it, in units of ``prefill``
    D, V       seconds of work that start a busy period of prompts, and the variance of that period
    ca2, cs2   squared coefficients of variation of the times between arrivals, and of prompts

TTFT is that of an M/M/1 queue: exponential prompts, Poisson arrivals. Others add the difference between their GI/G/1
sojourn and that one. Attention over prompts costs E[prompt^2], and the z prompts of a burst are computed in one step.
Each latency is then multiplied by the margin for the error of the prediction (``sizing.performance.spread``).

The rate grows with C, so ``most_traffic`` finds the largest C within the objectives by bracketing.
``benchmarks/plans/prove.py`` judges these formulas by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sizing.performance.replica import Replica, staged_loop
from sizing.performance.roofline import Cycle, Loop, prompt_pairs
from sizing.performance.spread import error_margin
from sizing.workload.arrivals import POISSON, Arrivals, Wait, wait_of
from sizing.workload.lengths import NORMAL_P95, Lengths, RequestLengths, lengths_of, request_lengths
from sizing.workload.workload import Objectives, Workload

EXPONENTIAL = lengths_of(1, None, 1)
SLOPE_STEP = 1.1
"""Factor on C over which d rate / dC is taken."""
BISECTIONS = 40
CLOSE = 1e-6
"""Relative tolerance of C at the most traffic."""
NEAR = 0.05
"""The same for an upper bound, which only prunes a search."""
EXACT = 1e-9
"""Relative tolerance of a rate."""
LEAST = 0.02
"""C at which a replica counts as idle."""
FEWEST = 1e-3
"""Share of ``LEAST`` below which a replica carries nothing."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one replica does with its share of the traffic."""

    replica: Replica
    workload: Workload
    concurrency: float
    concurrency_p95: float
    slots: float
    """Requests that can be scheduled at once."""
    requests_per_s: float
    kv_tokens_p95: float
    requests_ttft_p95_ms: float
    """95th percentile over requests, were the prediction exact."""
    requests_tpot_p95_ms: float
    ttft_margin: float
    """Factor for the error of the prediction."""
    tpot_margin: float

    @property
    def ttft_p95_ms(self) -> float:
        """95th percentile over requests and deployments, which differ by the error of the prediction."""
        return self.requests_ttft_p95_ms * self.ttft_margin

    @property
    def tpot_p95_ms(self) -> float:
        """The same of the time per output token."""
        return self.requests_tpot_p95_ms * self.tpot_margin

    @property
    def schedulable(self) -> bool:
        """Return whether the p95 concurrency fits the slots, and the KV tokens at p95 the cache."""
        cache = self.kv_tokens_p95 <= self.replica.kv_tokens or self.concurrency <= LEAST
        return cache and self.concurrency_p95 <= self.slots

    def meets(self, objectives: Objectives) -> bool:
        """Return whether both objectives hold and the p95 concurrency can be scheduled."""
        return (
            self.schedulable
            and self.ttft_p95_ms <= objectives.ttft_p95_ms
            and self.tpot_p95_ms <= objectives.tpot_p95_ms
        )

    @cached_property
    def loop(self) -> Loop:
        """The same number of requests in flight as a closed loop, which predictions are stated for."""
        return staged_loop(
            self.replica,
            concurrency=max(self.concurrency, 1.0),
            slots=math.inf,
            input_tokens=float(self.workload.input_tokens),
            output_tokens=float(self.workload.output_tokens),
            prefix_share=self.workload.prefix_share,
        )


def traffic_at(replica: Replica, workload: Workload, concurrency: float) -> Traffic:
    """Return the open-loop state in which ``concurrency`` requests are in flight on average.

    Pipeline parallelism: latencies are those of one of the ``stages`` batches, slots and KV tokens those of all.
    """
    lengths = _lengths(replica, workload)
    prompt, answer, context, stages = lengths.prompt, lengths.answer, lengths.context, replica.stages
    tokens_in, tokens_out, share = prompt.mean, answer.mean, concurrency / stages
    cached = tokens_in * workload.prefix_share
    new, batch = tokens_in - cached, max(share, 1.0)
    pairs = prompt.second_moment * prompt_pairs(new, cached)
    roofline = replica.roofline

    def cycle_at(number: float, together: float = 1.0) -> Cycle:
        return roofline.cycle(number, context, new=new, pairs=pairs, output_tokens=tokens_out, together=together)

    cycle = cycle_at(batch)
    rate = batch / cycle.cycle_s * min(share, 1.0)
    arrivals = Arrivals(workload.burstiness, min(rate * stages / workload.arrivals_per_second, 1.0))
    peakedness = arrivals.peakedness
    if peakedness > 1:
        cycle = cycle_at(batch, peakedness)
        rate = batch / cycle.cycle_s * min(share, 1.0)
    above = cycle_at(batch * SLOPE_STEP, max(peakedness, 1.0))
    poisson = variance_of(batch, cycle.cycle_s, above.cycle_s) * min(share, 1.0)
    variance = poisson * peakedness
    met = poisson * max(peakedness - 1.0, 0.0) / batch
    seen_p95 = max(share + met + NORMAL_P95 * math.sqrt(variance), 1.0)
    step_p95_s = roofline.step_s(seen_p95, context) if math.isfinite(seen_p95) else math.inf
    variance_of_tokens = prompt.variation * tokens_in**2 + answer.variation_seen * tokens_out**2
    held = stages * (variance * context**2 + share * variance_of_tokens)
    exponential_poisson = workload.burstiness == 1 and workload.input_tokens_p95 is None

    def waits(utilisation: float) -> tuple[Wait, Wait]:
        """Waits of the workload's prompts, and those of exponential prompts with Poisson arrivals."""
        reference = wait_of(utilisation, POISSON, EXPONENTIAL.variation)
        return reference if exponential_poisson else wait_of(utilisation, arrivals, prompt.variation), reference

    ttft_s, ttft_mean_s = _ttft_s(replica, workload, lengths, cycle, rate, step_p95_s, share, waits)
    token_s = step_p95_s / replica.work.tokens_per_step
    of_burst = max(peakedness - 1.0, 0.0)
    tpot_s = tpot_p95_s(cycle, waits(rate * cycle.prefill_s), rate, token_s, answer, of_burst=of_burst)
    tpot_mean_s = (cycle.steps * cycle.step_s + max(batch - 1, 0.0) * cycle.prefill_s) / tokens_out
    return Traffic(
        replica=replica,
        workload=workload,
        concurrency=concurrency,
        concurrency_p95=max(concurrency + NORMAL_P95 * math.sqrt(stages * variance), 1.0),
        slots=replica.slots(context),
        requests_per_s=rate * stages,
        kv_tokens_p95=concurrency * context + NORMAL_P95 * math.sqrt(held),
        ttft_margin=error_margin(replica.work, "ttft_ms", p95=ttft_s, mean=ttft_mean_s),
        tpot_margin=error_margin(replica.work, "tpot_ms", p95=tpot_s, mean=tpot_mean_s),
        requests_ttft_p95_ms=ttft_s * 1e3,
        requests_tpot_p95_ms=tpot_s * 1e3,
    )


def variance_of(number: float, cycle_s: float, cycle_above_s: float) -> float:
    """Variance of the number in flight under Poisson arrivals: rate / (d rate / dC), at most C (1 + C).

    ``cycle_above_s`` is the cycle of ``SLOPE_STEP`` times as many. Where no request slows another the slope is rate / C
    and the number is Poisson; where the rate no longer grows (processor sharing) it is geometric.
    """
    here, geometric = number / cycle_s, number * (1 + number)
    gained = number * SLOPE_STEP / cycle_above_s - here
    return min(here * number * (SLOPE_STEP - 1) / gained, geometric) if gained > 0 else geometric


def _ttft_s(  # noqa: PLR0917
    replica: Replica,
    workload: Workload,
    lengths: RequestLengths,
    cycle: Cycle,
    rate: float,
    step_p95_s: float,
    concurrency: float,
    waits: Callable[[float], tuple[Wait, Wait]],
) -> tuple[float, float]:
    """95th percentile and mean of TTFT: the running step, then the sojourn of a prompt among the others."""
    prompt = lengths.prompt
    new = prompt.mean * (1 - workload.prefix_share)
    utilisation = rate * (cycle.prefill_s + cycle.step_s * new / replica.work.chunk_tokens)

    def prompt_s(over_mean: float) -> float:
        tokens = min(over_mean * prompt.mean, max(replica.longest - 1, prompt.mean))
        cached = tokens * workload.prefix_share
        return replica.roofline.first_token_s(concurrency, lengths.context, tokens=tokens - cached, cached=cached)

    mean, exponential = prompt_s(1.0), prompt_s(EXPONENTIAL.p95_over_mean)
    running = step_p95_s * min(concurrency, 1.0)
    served = running + slowed_s(exponential, utilisation)
    wait, reference = waits(utilisation)
    if utilisation >= 1 or wait is reference:
        return served, running + slowed_s(mean, utilisation)
    long, unit = prompt_s(prompt.p95_over_mean), exponential / EXPONENTIAL.p95_over_mean
    more = sojourn_p95_s(mean, long, unit, wait) - sojourn_p95_s(mean, exponential, unit, reference)
    return served + more, running + mean + unit * wait.mean


def sojourn_p95_s(mean_s: float, long_s: float, unit_s: float, wait: Wait) -> float:
    """95th percentile of wait and service: mean_s + W + sqrt((long_s - mean_s)^2 + (W95 - W)^2).

    Service takes ``mean_s``, at its 95th percentile ``long_s``; W and W95 are mean and 95th percentile of ``wait``, in
    units of ``unit_s``. Wait and service are independent, so deviations from their means are added in quadrature.
    """
    return mean_s + unit_s * wait.mean + math.hypot(long_s - mean_s, unit_s * max(wait.p95 - wait.mean, 0.0))


def _lengths(replica: Replica, workload: Workload) -> RequestLengths:
    """Lengths of prompts and of answers, cut where the replica takes no longer request."""
    return request_lengths(
        workload.input_tokens, workload.input_tokens_p95, workload.output_tokens, workload.output_tokens_p95,
        replica.longest,
    )  # fmt: skip


def context_of(replica: Replica, workload: Workload) -> float:
    """Return the mean tokens of a request seen decoding."""
    return _lengths(replica, workload).context


def slowed_s(alone_s: float, utilisation: float) -> float:
    """Sojourn in an M/M/1 queue: alone_s / (1 - rho), infinite from 1."""
    return alone_s / (1 - utilisation) if utilisation < 1 else math.inf


def tpot_p95_s(
    cycle: Cycle, waits: tuple[Wait, Wait], rate: float, token_s: float, answer: Lengths, *, of_burst: float = 0.0
) -> float:
    """95th percentile over answers of the time per token, with the prompts of others that fall among its steps.

    The answer's own steps and the prompts queued when it starts, D seconds of work, start a busy period of prompts
    (formulas above). ``waits`` are those of the workload's prompts and of an M/M/1 queue. ``of_burst``: arrivals that
    follow an arrival beyond those that follow any other moment, (ca2 - 1) / 2 = z - 1 in a renewal process.
    ``token_s``: a step over the tokens that speculative decoding makes of it. An answer of one token (a vector, a
    score, a label) meets no prompt: it has the step alone.
    """
    wait, reference = waits
    if answer.mean <= 1:
        return token_s
    tokens = max(answer.short_share * answer.mean, 1.0)
    utilisation = rate * cycle.prefill_s
    if utilisation >= 1:
        return math.inf
    begun = tokens * token_s + (wait.mean + of_burst) * cycle.prefill_s
    variance = rate * wait.variation * cycle.prefill_s**2 * begun / (1 - utilisation) ** 3
    variance += max(wait.variance - reference.variance, 0.0) * (cycle.prefill_s / (1 - utilisation)) ** 2
    return (begun / (1 - utilisation) + NORMAL_P95 * math.sqrt(variance)) / tokens


def most_traffic(replica: Replica, workload: Workload, objectives: Objectives) -> Traffic | None:
    """Return the most traffic that one replica carries within the objectives; None when even one request misses."""
    best, _ = _bracket(replica, workload, objectives, CLOSE)
    return best


def rate_bound(replica: Replica, workload: Workload, objectives: Objectives) -> float:
    """Return an upper bound of the rate of ``most_traffic``, at most ``NEAR`` above in C; 0 where that is None."""
    best, beyond = _bracket(replica, workload, objectives, NEAR)
    return beyond.requests_per_s if best else 0.0


def _bracket(
    replica: Replica, workload: Workload, objectives: Objectives, close: float
) -> tuple[Traffic | None, Traffic]:
    """Return the most traffic that is known to meet the objectives and the least that is known not to.

    The excess over the binding limit grows with C: its zero is found by regula falsi (Illinois), down to a width of
    ``close`` x C. Both are the same where all that can be scheduled meets the objectives.
    """
    low, high = LEAST, max(replica.slots(_lengths(replica, workload).context), 1.0)
    best, beyond = traffic_at(replica, workload, low), traffic_at(replica, workload, high)
    if not best.meets(objectives):  # its share of a burst may be too much where a smaller share is not
        high, beyond, low = low, best, LEAST * FEWEST
        best = traffic_at(replica, workload, low)
    if not best.meets(objectives):
        return None, best
    if beyond.meets(objectives):
        return beyond, beyond
    between = _Between(low, high, _excess(best, objectives), _excess(beyond, objectives))
    for _ in range(BISECTIONS):
        state = traffic_at(replica, workload, between.middle)
        within = state.meets(objectives)
        best, beyond = (state, beyond) if within else (best, state)
        between.narrow(state.concurrency, _excess(state, objectives), within=within)
        if between.width < close * between.high:
            break
    return best, beyond


@dataclass(slots=True)
class _Between:
    """Bracket of the C at which the excess is zero: ``below`` is the excess at ``low``, ``above`` that at ``high``."""

    low: float
    high: float
    below: float
    above: float
    kept: str = ""
    """The end that the last step left where it was."""

    @property
    def width(self) -> float:
        return self.high - self.low

    @property
    def middle(self) -> float:
        """Where the straight line between the ends is zero, half way if it has no slope; never at an end."""
        bounded = math.isfinite(self.above) and self.above > self.below
        share = self.below / (self.below - self.above) if bounded else 0.5
        return self.low + self.width * min(max(share, 1e-3), 1 - 1e-3)

    def narrow(self, number: float, excess: float, *, within: bool) -> None:
        """Move one end to ``number``, where the excess is ``excess``; an end that is kept twice counts half."""
        if within:
            self.above /= 2 if self.kept == "high" else 1
            self.low, self.below, self.kept = number, excess, "high"
        else:
            self.below /= 2 if self.kept == "low" else 1
            self.high, self.above, self.kept = number, excess, "low"


def _excess(state: Traffic, objectives: Objectives) -> float:
    """Largest ratio of a figure to its limit, minus 1: negative within all limits, infinite where a latency is."""
    excess = max(
        state.ttft_p95_ms / objectives.ttft_p95_ms,
        state.tpot_p95_ms / objectives.tpot_p95_ms,
        state.concurrency_p95 / state.slots,
        state.kv_tokens_p95 / state.replica.kv_tokens if state.concurrency > LEAST else 0.0,
    )
    return excess - 1.0 if excess > 1.0 or state.meets(objectives) else 1e-9


def traffic_for(replica: Replica, workload: Workload, requests_per_s: float, most: Traffic) -> Traffic:
    """Return the state at ``requests_per_s`` on this replica, which must not exceed ``most``; found as ``_bracket``."""
    between, state = _Between(0.0, most.concurrency, -requests_per_s, most.requests_per_s - requests_per_s), most
    for _ in range(BISECTIONS):
        found = traffic_at(replica, workload, between.middle)
        beyond = found.requests_per_s - requests_per_s
        state = state if beyond < 0 else found
        between.narrow(found.concurrency, beyond, within=beyond < 0)
        if between.width < CLOSE * between.high or 0 <= beyond <= EXACT * requests_per_s:
            break
    return state
