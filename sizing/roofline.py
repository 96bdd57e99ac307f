"""Time of one engine step, and of a closed loop of requests, from bytes and floating-point operations.

    step(B, L)  = max(weights / bandwidth, 2 x parameters x B / compute) + B x L x kv / bandwidth + collectives + host
    prefill(I)  = (2 x parameters x I + 2 x layers x heads x head_dim x I^2) / compute + collectives
    cycle(B)    = O x step(B, I + O / 2) + B x prefill(I)          every request prefills once and decodes O tokens
    tokens/s    = B x O / cycle

Assumptions: continuous batching with chunked prefill, so that a prefill adds its compute to the steps of the others;
requests of the mean length, out of phase; bandwidth and compute are the datasheet's times a calibrated efficiency.
Known error: ``make benchmark-throughput`` prints it for the sources that were not fitted.
All times are seconds, all sizes bytes and per GPU, tokens per second are over all GPUs of the replica.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one step of one model moves and computes on each GPU of the replica."""

    weights_bytes: float
    kv_bytes_per_token: float
    parameters_active: float
    layers: int
    hidden_size: int
    attention_width: int
    """Query heads x head size, over all GPUs."""
    gpus: int
    chunk_tokens: int
    """Tokens of prompts that one step takes at most (max_num_batched_tokens)."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What one GPU reaches, after the calibrated efficiencies."""

    bandwidth_bytes_per_s: float
    compute_flops_per_s: float
    link_bytes_per_s: float
    link_latency_s: float
    host_step_s: float
    host_sequence_s: float
    request_s: float = 0.0
    """Seconds that the API server, tokeniser and scheduler add to the first token."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Steady state of ``batch`` requests in flight, each followed by the next as soon as it ends."""

    batch: float
    step_s: float
    prefill_s: float
    cycle_s: float
    ttft_s: float
    tpot_s: float
    output_tokens_per_s: float


def collective_s(load: Load, speed: Speed, tokens: float) -> float:
    """Seconds of the two all-reduces of each layer over ``tokens`` rows of bf16 (0 on one GPU)."""
    if load.gpus == 1:
        return 0.0
    rows_bytes = tokens * load.hidden_size * 2
    ring = 2 * (load.gpus - 1) / load.gpus * rows_bytes / speed.link_bytes_per_s
    return 2 * load.layers * (speed.link_latency_s * math.log2(load.gpus) + ring)


def step_s(load: Load, speed: Speed, batch: float, context_tokens: float) -> float:
    """Seconds of one decode step of ``batch`` sequences that hold ``context_tokens`` each."""
    compute = 2 * load.parameters_active / load.gpus * batch / speed.compute_flops_per_s
    matrices = max(load.weights_bytes / speed.bandwidth_bytes_per_s, compute)
    attention = batch * context_tokens * load.kv_bytes_per_token / speed.bandwidth_bytes_per_s
    host = speed.host_step_s + speed.host_sequence_s * batch
    return matrices + attention + collective_s(load, speed, batch) + host


def prefill_s(load: Load, speed: Speed, tokens: float, cached_tokens: float = 0.0) -> float:
    """Seconds of compute that one prompt adds: ``tokens`` new ones after ``cached_tokens`` found in the cache."""
    pairs = tokens * (tokens + 2 * cached_tokens)
    flops = 2 * load.parameters_active * tokens + 2 * load.layers * load.attention_width * pairs
    return flops / load.gpus / speed.compute_flops_per_s + collective_s(load, speed, tokens)


def first_token_s(load: Load, speed: Speed, tokens: float, cached_tokens: float, step: float) -> float:
    """Seconds from the start of a prefill to its first token: never under one step for each chunk."""
    chunks = math.ceil(max(tokens, 1.0) / load.chunk_tokens)
    return prefill_s(load, speed, tokens, cached_tokens) + chunks * step + speed.request_s


def closed_loop(
    load: Load,
    speed: Speed,
    *,
    concurrency: float,
    slots: float,
    input_tokens: float,
    output_tokens: float,
    prefix_share: float = 0.0,
) -> Loop:
    """Steady state of ``concurrency`` requests in flight, of which at most ``slots`` are scheduled at a time."""
    batch = max(min(concurrency, slots), 1.0)
    cached = input_tokens * prefix_share
    new = input_tokens - cached
    step = step_s(load, speed, batch, input_tokens + output_tokens / 2)
    prefill = prefill_s(load, speed, new, cached)
    cycle = output_tokens * step + batch * prefill
    others = (batch - 1) * prefill / cycle
    served = first_token_s(load, speed, new, cached, step) + prefill * others / (1 - others)
    waiting = max(concurrency / batch - 1, 0.0) * cycle
    return Loop(
        batch=batch,
        step_s=step,
        prefill_s=prefill,
        cycle_s=cycle,
        ttft_s=served + waiting,
        tpot_s=step + (batch - 1) * prefill / output_tokens,
        output_tokens_per_s=batch * output_tokens / cycle,
    )
