"""The longest request beside the most traffic of a replica: its first token, and the time of each further one.

    first   = TTFT p95 + prefill of the longest prompt x margin
    token   = TPOT p95 x step(C95, L + own / C95) / step(C95, L)

    C95, L     requests in flight at the 95th percentile and their tokens (``sizing.performance.queueing``)
    own        tokens that the longest request has in the cache on average while it decodes

TPOT p95 is that of a short answer: a long one meets no more prompts per token, but its own cache is read in each step.
"""

from __future__ import annotations

from sizing.performance.queueing import Traffic, context_of


def longest_first_token_s(most: Traffic) -> float:
    """Return the seconds to the first token of a prompt as long as the engine takes, behind those of others."""
    replica, share = most.replica, max(most.concurrency_p95 / most.replica.stages, 1.0)
    context = context_of(replica, most.workload)
    alone_s = replica.roofline.first_token_s(share, context, tokens=float(replica.longest), cached=0.0)
    return most.ttft_p95_ms / 1e3 + alone_s * most.ttft_margin


def longest_token_ms(most: Traffic, output_tokens: int) -> float:
    """Return the milliseconds per token of an answer of ``output_tokens`` after the longest prompt beside it."""
    replica, share = most.replica, max(most.concurrency_p95 / most.replica.stages, 1.0)
    context, own = context_of(replica, most.workload), replica.longest - output_tokens / 2
    beside_s = replica.roofline.step_s(share, context + own / share)
    return most.tpot_p95_ms * max(beside_s / replica.roofline.step_s(share, context), 1.0)
