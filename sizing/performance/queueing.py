"""Open-loop traffic on one replica: how many requests are in flight and what the 95th percentile sees.

With ``C`` requests in flight on average, a replica completes ``C / cycle(C)`` requests per second (Little's law with
the cycle of ``sizing.performance.roofline``), which grows with C; so the traffic that a replica carries within its
objectives is found by bisection on C. Lengths are those of ``sizing.workload.lengths``, times between arrivals gamma
with the stated burstiness, exponential without (``sizing.workload.arrivals``); a replica that takes a share of them
sees bursts thinned by it. Then, stated in each plan:

- a request that is seen decoding is a long one: its context is the prompt plus half the mean square of the output over
  its mean, the whole mean of an exponential output;
- the number in flight varies: of Poisson arrivals its variance is rate / slope of the rate in C (C where no request
  slows another, more near saturation), of burstier ones the peakedness of their number times that. Its 95th
  percentile, 1.645 standard deviations above C, must be scheduled at once; the tokens they hold vary with their
  lengths besides, and the KV cache holds their 95th percentile. Requests of a burst see each other: their steps have
  what the bursts add to the variance over the mean besides;
- prompts cost the mean of their squares where they attend, twice the square of an exponential mean; those of a burst
  are computed together, as many as their peakedness;
- TTFT p95 is that of a prompt at the 95th percentile of lengths after the step that is running; of exponential
  prompts and Poisson arrivals it is stretched by 1 / (1 - share of time that other prompts take), the sojourn of an
  M/M/1 queue; others add what their sojourn has above that of exponential ones;
- TPOT p95 is that of a short answer in the step at the 95th percentile of C: its steps and the prompts among them make
  a busy period, taken at 1.645 standard deviations.

``benchmarks/plans/prove.py`` judges these by simulation.
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
STEP_ASIDE = 1.1
"""Factor on the number in flight over which the slope of the rate is taken."""
BISECTIONS = 40
CLOSE = 1e-6
"""Width, as a share, at which the most traffic is known well enough."""
EXACT = 1e-9
"""Share of a rate that is no difference."""
NEAR = 0.05
"""The same for a bound that only tells what need not be looked at."""
FEWEST = 1e-3
"""Share of what an idle replica takes, below which it takes nothing."""
LEAST = 0.02
"""Requests in flight on average at which a replica counts as idle."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one replica does with its share of the traffic."""

    replica: Replica
    workload: Workload
    concurrency: float
    concurrency_p95: float
    slots: float
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
        """Tell whether the 95th percentile of requests in flight, and of the tokens they hold, can be scheduled."""
        cache = self.kv_tokens_p95 <= self.replica.kv_tokens or self.concurrency <= LEAST
        return cache and self.concurrency_p95 <= self.slots

    def meets(self, objectives: Objectives) -> bool:
        """Tell whether both objectives hold and what is in flight can be scheduled."""
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

    Each batch of a pipeline has its share of them and is judged alone; what must be scheduled is that of all.
    """
    lengths = _lengths(replica, workload)
    prompt, answer, context, stages = lengths.prompt, lengths.answer, lengths.context, replica.stages
    tokens_in, tokens_out, share = prompt.mean, answer.mean, concurrency / stages
    cached = tokens_in * workload.prefix_share
    new, batch = tokens_in - cached, max(share, 1.0)
    pairs = prompt.second_moment * prompt_pairs(new, cached)
    roofline = replica.roofline

    def cycle(of: float, together: float = 1.0) -> Cycle:
        return roofline.cycle(of, context, new=new, pairs=pairs, output_tokens=tokens_out, together=together)

    once = cycle(batch)
    rate = batch / once.cycle_s * min(share, 1.0)
    arrivals = Arrivals(workload.burstiness, min(rate * stages / workload.arrivals_per_second, 1.0))
    bursts = arrivals.peakedness
    if bursts > 1:
        once = cycle(batch, bursts)
        rate = batch / once.cycle_s * min(share, 1.0)
    more = cycle(batch * STEP_ASIDE, max(bursts, 1.0))
    poisson = variance_of(batch, once.cycle_s, more.cycle_s) * min(share, 1.0)
    variance = poisson * bursts
    beside = poisson * max(bursts - 1.0, 0.0) / batch  # of its own burst, which a request sees besides
    crowd = max(share + beside + NORMAL_P95 * math.sqrt(variance), 1.0)
    crowded_s = roofline.step_s(crowd, context) if math.isfinite(crowd) else math.inf
    spread_out = prompt.variation * tokens_in**2 + answer.variation_seen * tokens_out**2
    held = stages * (variance * context**2 + share * spread_out)  # of numbers, and of lengths
    usual = workload.burstiness == 1 and workload.input_tokens_p95 is None

    def waits(busy: float) -> tuple[Wait, Wait]:
        """Waits of the workload's prompts, and those of exponential prompts that arrive as Poisson."""
        of_poisson = wait_of(busy, POISSON, EXPONENTIAL.variation)
        return of_poisson if usual else wait_of(busy, arrivals, prompt.variation), of_poisson

    ttft_s, ttft_mean_s = _ttft_s(replica, workload, lengths, once, rate, crowded_s, share, waits)
    token_s = crowded_s / replica.work.tokens_per_step
    tpot_s = tpot_p95_s(once, waits(rate * once.prefill_s), rate, token_s, answer, followers=max(bursts - 1.0, 0.0))
    tpot_mean_s = (once.steps * once.step_s + max(batch - 1, 0.0) * once.prefill_s) / tokens_out
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


def variance_of(number: float, cycle_s: float, cycle_aside_s: float) -> float:
    """Variance of the number in flight: rate / slope of the rate in that number, at most that of a geometric number.

    ``cycle_aside_s`` is the cycle of ``STEP_ASIDE`` times as many. Where none slows another the slope is rate / number
    and the number is Poisson; where more add nothing, they share what there is and their number is geometric.
    """
    here, geometric = number / cycle_s, number * (1 + number)
    gained = number * STEP_ASIDE / cycle_aside_s - here
    return min(here * number * (STEP_ASIDE - 1) / gained, geometric) if gained > 0 else geometric


def _ttft_s(  # noqa: PLR0917
    replica: Replica,
    workload: Workload,
    lengths: RequestLengths,
    once: Cycle,
    rate: float,
    crowded_s: float,
    concurrency: float,
    waits: Callable[[float], tuple[Wait, Wait]],
) -> tuple[float, float]:
    """95th percentile and mean of the time to the first token: the running step, then a prompt among the others."""
    prompt = lengths.prompt
    new = prompt.mean * (1 - workload.prefix_share)
    busy = rate * (once.prefill_s + once.step_s * new / replica.work.chunk_tokens)

    def own_s(times_mean: float) -> float:
        tokens = min(times_mean * prompt.mean, max(replica.longest - 1, prompt.mean))
        cached = tokens * workload.prefix_share
        return replica.roofline.first_token_s(concurrency, lengths.context, tokens=tokens - cached, cached=cached)

    mean, usual, running = own_s(1.0), own_s(EXPONENTIAL.p95_over_mean), crowded_s * min(concurrency, 1.0)
    served = running + slowed_s(usual, busy)
    wait, poisson = waits(busy)
    if busy >= 1 or wait is poisson:
        return served, running + slowed_s(mean, busy)
    long, unit = own_s(prompt.p95_over_mean), usual / EXPONENTIAL.p95_over_mean
    more = sojourn_p95_s(mean, long, unit, wait) - sojourn_p95_s(mean, usual, unit, poisson)
    return served + more, running + mean + unit * wait.mean


def sojourn_p95_s(mean_s: float, long_s: float, unit_s: float, wait: Wait) -> float:
    """95th percentile of wait and service, which takes ``mean_s`` and at the 95th percentile ``long_s``.

    The wait is counted in ``unit_s``; deviations of the two from their means add like sides of a triangle.
    """
    return mean_s + unit_s * wait.mean + math.hypot(long_s - mean_s, unit_s * max(wait.p95 - wait.mean, 0.0))


def _lengths(replica: Replica, workload: Workload) -> RequestLengths:
    """Lengths of prompts and of answers, cut where the replica takes no longer request."""
    return request_lengths(
        workload.input_tokens, workload.input_tokens_p95, workload.output_tokens, workload.output_tokens_p95,
        replica.longest,
    )  # fmt: skip


def slowed_s(alone_s: float, busy: float) -> float:
    """Seconds of work that takes ``alone_s`` where others take the share ``busy`` (infinite from 1)."""
    return alone_s / (1 - busy) if busy < 1 else math.inf


def tpot_p95_s(
    once: Cycle, waits: tuple[Wait, Wait], rate: float, token_s: float, answer: Lengths, *, followers: float = 0.0
) -> float:
    """95th percentile over answers of the time per token, with the prompts of others that fall among its steps.

    The steps of an answer and the prompts left behind its own start a busy period of prompts: its mean is that of an
    M/G/1 queue, its variance that of the work that arrives, which varies with arrivals and lengths, and that of the
    prompts left behind as far as it is above that of exponential ones. ``followers`` come on top: after an arrival
    there are so many more than at another moment, (variation - 1) / 2 of a renewal process. After the one token of a
    vector, a score or a label none follows: it has the step alone. ``token_s`` is the time for each token without
    them: a step, of which drafted tokens make several.
    """
    wait, poisson = waits
    if answer.mean <= 1:
        return token_s
    tokens = max(answer.short_share * answer.mean, 1.0)
    busy = rate * once.prefill_s
    if busy >= 1:
        return math.inf
    begun = tokens * token_s + (wait.mean + followers) * once.prefill_s
    variance = rate * wait.variation * once.prefill_s**2 * begun / (1 - busy) ** 3
    variance += max(wait.variance - poisson.variance, 0.0) * (once.prefill_s / (1 - busy)) ** 2
    return (begun / (1 - busy) + NORMAL_P95 * math.sqrt(variance)) / tokens


def most_traffic(replica: Replica, workload: Workload, objectives: Objectives) -> Traffic | None:
    """Return the most traffic that one replica carries within the objectives; None when even one request misses."""
    best, _ = _bracket(replica, workload, objectives, CLOSE)
    return best


def rate_bound(replica: Replica, workload: Workload, objectives: Objectives) -> float:
    """Return requests per second that ``most_traffic`` does not exceed, and hardly misses; 0 where it is None."""
    best, beyond = _bracket(replica, workload, objectives, NEAR)
    return beyond.requests_per_s if best else 0.0


def _bracket(
    replica: Replica, workload: Workload, objectives: Objectives, close: float
) -> tuple[Traffic | None, Traffic]:
    """Return the most traffic that is known to meet the objectives and the least that is known not to.

    The excess over what binds grows with the requests in flight; its zero is bracketed and closed in on by false
    position with halved ends (the Illinois rule), down to ``close`` as a share of the number in flight. Both are the
    same where all that can be scheduled meets them.
    """
    low, high = LEAST, max(replica.slots(_lengths(replica, workload).context), 1.0)
    best, beyond = traffic_at(replica, workload, low), traffic_at(replica, workload, high)
    if not best.meets(objectives):  # of bursts that many replicas share each may still take a little
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
    """A zero between two numbers in flight: ``below`` is the excess at ``low``, ``above`` that at ``high``."""

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
    """How far the state is beyond what binds first, as a share of it; negative within, infinite without bound."""
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
