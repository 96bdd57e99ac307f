"""Time of one engine step, and of a closed loop of requests, from bytes and floating-point operations.

    matrices = bytes of the weights that the step touches / bandwidth, and 2 x parameters x tokens / compute
    cache    = bytes of the cache that the decodes read / bandwidth
    pairs    = FLOPs of attention of the prompt tokens / compute
    passes   = tokens x layers x hidden x 2 bytes x passes over them / bandwidth (norms, residuals, copies to experts;
               tensor parallelism does not divide them)
    step     = larger of the two times of the matrices (rounded where they cross) + cache + pairs + passes
               + collectives + host

A mixture of experts touches ``experts x (1 - (1 - chosen / experts)^tokens)`` experts in a step (fewer where routing
is uneven). In a closed loop of
``B`` requests every request decodes ``O`` tokens in ``O`` steps, and ``B`` prompts are prefilled in as many of these
steps (in more of them when they do not fit ``max_num_batched_tokens``):

    cycle    = steps without prompts x step(B) + steps with prompts x step(B + prompt tokens)
    tokens/s = B x O / cycle

Assumptions: continuous batching with chunked prefill; requests of the mean length, out of phase; bandwidth and
compute are the datasheet's times a calibrated efficiency. Known error: ``make benchmark-throughput`` prints it for
sources that were not fitted. All times are seconds, all sizes bytes and per GPU, tokens per second are over all GPUs
of the replica.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUNDING = 4.0
"""Exponent of the norm that joins the times of memory and of compute: 2 would add them like sides of a triangle,
infinity takes the larger; near the crossing real kernels reach neither limit."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one step of one model moves and computes on each GPU of the replica."""

    weights_bytes: float
    """Bytes that every step reads: all weights but routed experts and the embedding table."""
    kv_bytes_per_token: float
    """Bytes of cache that one decode reads for each token of its context."""
    parameters_active: float
    layers: int
    hidden_size: int
    attention_width: int
    """Query heads x head size over all GPUs; scaled down where few layers see the whole context."""
    gpus: int
    chunk_tokens: int
    """Tokens that one step takes at most (max_num_batched_tokens)."""
    expert_bytes: float = 0.0
    """Bytes of all routed experts."""
    experts: int = 0
    experts_per_token: int = 0
    windows: tuple[tuple[int, float], ...] = ()
    """Layers that see a window: its tokens, and bytes of cache for each token in it."""
    state_bytes: float = 0.0
    """Bytes of recurrent state that one decode reads and writes."""
    head_parameters: float = 0.0
    """Parameters of the output head: it is used for decodes and the last token of a prompt only."""


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
    attention_bytes_per_s: float = 0.0
    """Bandwidth of reading the cache; 0 takes ``bandwidth_bytes_per_s``."""
    expert_bytes_per_s: float = 0.0
    """Bandwidth of reading routed experts; 0 takes ``bandwidth_bytes_per_s``."""
    request_host_s: float = 0.0
    """Seconds of host work that one request costs the engine, whatever its length."""
    token_s: float = 0.0
    """Seconds of the API server for each output token, beside the engine: it limits very fast replicas."""
    passes: float = 0.0
    """Times that a step reads or writes the hidden state of a token in each layer, beside the matrices."""
    routing: float = 1.0
    """Share of a further token's experts that are chosen independently of the tokens before it; 1 is even routing."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Steady state of ``batch`` requests in flight, each followed by the next as soon as it ends."""

    batch: float
    step_s: float
    prefill_s: float
    """Seconds that one prompt adds to the steps of the others."""
    cycle_s: float
    ttft_s: float
    tpot_s: float
    output_tokens_per_s: float


def touched(load: Load, tokens: float, routing: float = 1.0) -> float:
    """Share of the experts that ``tokens`` tokens are sent to; tokens of like texts share some (``routing`` < 1)."""
    if not load.experts:
        return 0.0
    independent = 1 + (tokens - 1) * routing
    return -math.expm1(independent * math.log1p(-min(load.experts_per_token / load.experts, 1 - 1e-12)))


def collective_s(load: Load, speed: Speed, tokens: float) -> float:
    """Seconds of the two all-reduces of each layer over ``tokens`` rows of bf16 (0 on one GPU)."""
    if load.gpus == 1:
        return 0.0
    rows_bytes = tokens * load.hidden_size * 2
    ring = 2 * (load.gpus - 1) / load.gpus * rows_bytes / speed.link_bytes_per_s
    return 2 * load.layers * (speed.link_latency_s * math.log2(load.gpus) + ring)


def step_s(
    load: Load, speed: Speed, batch: float, context_tokens: float, *, prompt_tokens: float = 0.0, pairs: float = 0.0
) -> float:
    """Seconds of one step: ``batch`` decodes with ``context_tokens`` each, beside ``prompt_tokens`` of prompts.

    ``pairs`` are the pairs of tokens that the prompts attend over, twice the area under the diagonal.
    """
    tokens = batch + prompt_tokens
    memory = load.weights_bytes / speed.bandwidth_bytes_per_s
    if load.experts:
        routed = speed.expert_bytes_per_s or speed.bandwidth_bytes_per_s
        memory += load.expert_bytes * touched(load, tokens, speed.routing) / routed
    compute = 2 * (load.parameters_active * tokens - load.head_parameters * prompt_tokens)
    compute /= load.gpus * speed.compute_flops_per_s
    larger, smaller = (memory, compute) if memory > compute else (compute, memory)
    matrices = larger * math.pow(1 + math.pow(smaller / larger, ROUNDING), 1 / ROUNDING)
    seen = sum(min(context_tokens, window) * size for window, size in load.windows)
    cache = batch * (context_tokens * load.kv_bytes_per_token + seen + load.state_bytes)
    attention = cache / (speed.attention_bytes_per_s or speed.bandwidth_bytes_per_s)
    prompts = 2 * load.layers * load.attention_width * pairs / load.gpus / speed.compute_flops_per_s
    host = speed.host_step_s + speed.host_sequence_s * batch
    passes = tokens * load.layers * load.hidden_size * 2 * speed.passes / speed.bandwidth_bytes_per_s
    return matrices + attention + prompts + passes + collective_s(load, speed, tokens) + host


def prompt_pairs(tokens: float, cached_tokens: float = 0.0) -> float:
    """Pairs of tokens that a prompt of ``tokens`` new ones after ``cached_tokens`` attends over, twice the area."""
    return tokens * (tokens + 2 * cached_tokens)


def first_token_s(
    load: Load, speed: Speed, batch: float, context_tokens: float, *, tokens: float, cached: float
) -> float:
    """Seconds from the start of a prefill to its first token, chunk by chunk beside ``batch`` decodes."""
    chunks = max(math.ceil(tokens / load.chunk_tokens), 1)
    size, pairs = tokens / chunks, prompt_pairs(tokens, cached) / chunks
    return chunks * step_s(load, speed, batch, context_tokens, prompt_tokens=size, pairs=pairs) + speed.request_s


@dataclass(frozen=True, slots=True)
class Cycle:
    """Time in which each of ``batch`` requests is served once: its prompt and all its output tokens."""

    step_s: float
    """One step without prompts."""
    steps: float
    cycle_s: float
    prefill_s: float
    """Seconds that one prompt adds to the steps of the others."""


def cycle_of(  # noqa: PLR0917
    load: Load, speed: Speed, batch: float, context: float, new: float, pairs: float, output_tokens: float
) -> Cycle:
    """Return the cycle of ``batch`` requests of ``new`` prompt tokens with ``pairs``, which decode at ``context``."""
    room = max(load.chunk_tokens - batch, 1.0)
    mixed = max(min(batch, output_tokens), batch * new / room)
    with_prompts = step_s(load, speed, batch, context, prompt_tokens=batch * new / mixed, pairs=batch * pairs / mixed)
    plain = step_s(load, speed, batch, context)
    steps = max(output_tokens, mixed)
    return Cycle(
        step_s=plain,
        steps=steps,
        cycle_s=(steps - mixed) * plain + mixed * with_prompts + batch * speed.request_host_s,
        prefill_s=max(mixed * (with_prompts - plain) / batch, 0.0) + speed.request_host_s,
    )


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
    new, context = input_tokens - cached, input_tokens + output_tokens / 2
    once = cycle_of(load, speed, batch, context, new, prompt_pairs(new, cached), output_tokens)
    plain, cycle, prefill = once.step_s, once.cycle_s, once.prefill_s
    others = min((batch - 1) * prefill / cycle, 0.99)
    served = first_token_s(load, speed, batch - 1, context, tokens=new, cached=cached) + prefill * others / (1 - others)
    served += plain / 2 * min(batch - 1, 1.0)  # the step that runs when the request arrives
    if speed.token_s:
        cycle = (cycle**ROUNDING + (batch * output_tokens * speed.token_s) ** ROUNDING) ** (1 / ROUNDING)
    waiting = max(concurrency / batch - 1, 0.0) * cycle
    return Loop(
        batch=batch,
        step_s=plain,
        prefill_s=prefill,
        cycle_s=cycle,
        ttft_s=served + waiting,
        tpot_s=(once.steps * plain + (batch - 1) * prefill) / output_tokens,
        output_tokens_per_s=batch * output_tokens / cycle,
    )
