"""Open-loop traffic on one replica: how many requests are in flight and what the 95th percentile sees.

With ``C`` requests in flight on average, a replica completes ``C / cycle(C)`` requests per second (Little's law with
the cycle of ``sizing.roofline``), which grows with C; so the traffic that a replica carries within its objectives is
found by bisection on C. Assumptions, stated in each plan:

- arrivals are Poisson, so the number in flight varies with standard deviation sqrt(C): the 95th percentile is
  C + 1.645 sqrt(C), and it must still be scheduled at once (KV cache and max_num_seqs);
- prompts wait for each other's prefill as in an M/G/1 queue whose service time varies as stated in ``VARIATION``
  (coefficient of variation 1, the exponential case: the workload states a mean only); the tail of the wait is
  exponential with the mean wait of those who wait;
- TPOT at the 95th percentile is that of the step at the 95th percentile of C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizing.inputs import Objectives, Workload
from sizing.roofline import Loop, closed_loop, first_token_s, step_s
from sizing.throughput import Replica, spread_of

NORMAL_P95 = 1.645
"""Standard deviations of the 95th percentile of a normal distribution."""
VARIATION = 1.0
"""Coefficient of variation of prompt lengths (assumed exponential)."""
BISECTIONS = 30


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one replica does with its share of the traffic."""

    concurrency: float
    concurrency_p95: float
    slots: float
    requests_per_s: float
    ttft_p95_ms: float
    tpot_p95_ms: float
    loop: Loop

    def meets(self, objectives: Objectives) -> bool:
        """Tell whether both objectives hold and the 95th percentile of requests in flight can be scheduled."""
        return (
            self.concurrency_p95 <= self.slots
            and self.ttft_p95_ms <= objectives.ttft_p95_ms
            and self.tpot_p95_ms <= objectives.tpot_p95_ms
        )


def wait_p95_s(service_s: float, utilisation: float) -> float:
    """95th percentile of the wait in an M/G/1 queue (infinite from a utilisation of 1)."""
    if utilisation >= 1:
        return math.inf
    if utilisation <= 0.05:
        return 0.0
    mean_of_waiting = service_s * (1 + VARIATION**2) / (2 * (1 - utilisation))
    return mean_of_waiting * math.log(utilisation / 0.05)


def traffic_at(replica: Replica, workload: Workload, concurrency: float) -> Traffic:
    """Return the open-loop state in which ``concurrency`` requests are in flight on average."""
    tokens_in, tokens_out = float(workload.input_tokens), float(workload.output_tokens)
    slots = replica.slots(tokens_in + tokens_out)
    loop = _loop(replica, workload, concurrency)
    rate = loop.batch / loop.cycle_s * min(concurrency, 1.0)
    spread = spread_of(replica.load)
    crowd = concurrency + NORMAL_P95 * math.sqrt(concurrency)
    cached = tokens_in * workload.prefix_share
    new = tokens_in - cached
    service = loop.prefill_s + loop.step_s * new / replica.load.chunk_tokens
    busy = min(rate * loop.prefill_s, 0.999)
    crowded_step = step_s(replica.load, replica.speed, max(crowd, 1.0), tokens_in + tokens_out / 2)
    context = tokens_in + tokens_out / 2
    first = first_token_s(replica.load, replica.speed, concurrency, context, tokens=new, cached=cached)
    ttft = (first + wait_p95_s(service, rate * service)) * spread["ttft_ms"]["p90"]
    return Traffic(
        concurrency=concurrency,
        concurrency_p95=max(crowd, 1.0),
        slots=slots,
        requests_per_s=rate,
        ttft_p95_ms=ttft * 1e3,
        tpot_p95_ms=crowded_step / (1 - busy) * spread["tpot_ms"]["p90"] * 1e3,
        loop=loop,
    )


def _loop(replica: Replica, workload: Workload, concurrency: float) -> Loop:
    return closed_loop(
        replica.load,
        replica.speed,
        concurrency=max(concurrency, 1.0),
        slots=math.inf,
        input_tokens=float(workload.input_tokens),
        output_tokens=float(workload.output_tokens),
        prefix_share=workload.prefix_share,
    )


def most_traffic(replica: Replica, workload: Workload, objectives: Objectives) -> Traffic | None:
    """Return the most traffic that one replica carries within the objectives; None when even one request misses."""
    low, high = 0.02, replica.slots(float(workload.input_tokens + workload.output_tokens))
    best = traffic_at(replica, workload, low)
    if not best.meets(objectives):
        return None
    top = traffic_at(replica, workload, high)
    if top.meets(objectives):
        return top
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        state = traffic_at(replica, workload, middle)
        if state.meets(objectives):
            low, best = middle, state
        else:
            high = middle
    return best


def traffic_for(replica: Replica, workload: Workload, requests_per_s: float, most: Traffic) -> Traffic:
    """Return the state at ``requests_per_s`` on this replica, which must not exceed ``most``."""
    low, high = 0.0, most.concurrency
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if traffic_at(replica, workload, middle).requests_per_s < requests_per_s:
            low = middle
        else:
            high = middle
    return traffic_at(replica, workload, max(high, 1e-6))
