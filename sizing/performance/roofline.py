"""Time of one engine step, and of a closed loop of requests, from bytes and floating-point operations.

    matrices = bytes of the weights that the step touches / bandwidth, and 2 x parameters x tokens / compute
    cache    = bytes of the cache that the decodes read / bandwidth
    pairs    = FLOPs of attention of the prompt tokens / compute
    passes   = tokens x layers x hidden x 2 bytes x passes over them / bandwidth (norms, residuals, copies to experts;
               tensor parallelism does not divide them)
    direct   = 2 x layers x (latency + 2 (n - 1) / n x tokens x hidden x 2 bytes / bandwidth) of n GPUs that read each
               other's memory; ring = the same of a ring, with its greater latency and bandwidth
    step     = larger of the two times of the matrices (rounded where they cross) + cache + pairs + passes
               + smaller of direct and ring + host

Three settings add to a step what ``StepFeatures`` holds:

    eager    = step without CUDA graphs: larger of the step and the time to launch its kernels
    adapters = distinct LoRA adapters x (their bytes / bandwidth, and the blocks that kernels start for each), their
               FLOPs, and kernels in each layer whose grid has all slots
    draft    = draft tokens x one pass of the draft: its weights and the output head; the target checks all of them in
               one step of ``batch x (1 + draft tokens)`` tokens, of which each request keeps ``tokens_per_step``

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


@dataclass(frozen=True, kw_only=True)
class StepFeatures:
    """What settings that most engines leave alone add to a step of one GPU; nothing by default."""

    eager: bool = False
    slots: int = 0
    """LoRA adapters that the engine has room for."""
    adapters: int = 0
    """Of which requests choose, evenly."""
    adapter_bytes: float = 0.0
    """Bytes of one of them."""
    adapter_parameters: float = 0.0
    """Parameters of one of them, over all GPUs."""
    draft_tokens: int = 0
    draft_passes: int = 0
    """Passes of a draft model; 0 for n-gram lookup in the prompt."""
    draft_bytes: float = 0.0
    """Bytes that each pass reads: the draft's weights but routed experts, and the output head."""
    draft_expert_bytes: float = 0.0
    draft_parameters: float = 0.0
    """Parameters that a token meets in each pass, over all GPUs."""
    tokens_per_step: float = 1.0
    """Tokens that a request gains in a step: one, and the drafted ones that the target accepts."""


@dataclass(frozen=True, kw_only=True)
class StepWork:
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
    cache_bits: int = 16
    """Bits of one element of the cache."""
    head_parameters: float = 0.0
    """Parameters of the output head: it is used for decodes and the last token of a prompt only."""
    features: StepFeatures | None = None
    """None where nothing is added."""

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a request gains in a step."""
        return self.features.tokens_per_step if self.features else 1.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What one GPU reaches, after the calibrated efficiencies."""

    bandwidth_bytes_per_s: float
    compute_flops_per_s: float
    link_bytes_per_s: float
    """Of a ring of all GPUs, in one direction, for long messages."""
    link_latency_s: float
    """Of one all-reduce by that ring."""
    host_step_s: float
    host_sequence_s: float
    prompt_step_s: float = 0.0
    """Seconds that a step with prompts takes longer: it is launched kernel by kernel, not replayed as a CUDA graph."""
    request_s: float = 0.0
    """Seconds that the API server, tokeniser and scheduler add to the first token."""
    attention_bytes_per_s: float = 0.0
    """Bandwidth of reading the cache; 0 takes ``bandwidth_bytes_per_s``."""
    attention_fp8: float = 1.0
    """Share of it that a cache of 8 bits reaches: a token also costs work of its own."""
    direct_bytes_per_s: float = 0.0
    """Of an all-reduce in which each GPU reads the others' memory; 0 where the GPUs cannot."""
    direct_latency_s: float = 0.0
    """Of one such all-reduce."""
    expert_bytes_per_s: float = 0.0
    """Bandwidth of reading routed experts; 0 takes ``bandwidth_bytes_per_s``."""
    request_host_s: float = 0.0
    """Seconds of host work that one request costs the engine, whatever its length."""
    token_s: float = 0.0
    """Seconds of the API server for each output token, parallel to the engine: it limits very fast replicas."""
    passes: float = 0.0
    """Times that a step reads or writes the hidden state of a token in each layer, outside of the matrices."""
    routing: float = 1.0
    """Share of a further token's experts that are chosen independently of the tokens before it; 1 is even routing."""
    launch_s: float = 0.0
    """Seconds to launch the kernels of a step one by one, which eager mode waits for."""
    adapters_s: float = 0.0
    """Seconds that the kernels of LoRA adapters take in a step, whoever uses them."""
    adapter_slot_s: float = 0.0
    """Seconds for each slot."""
    adapter_s: float = 0.0
    """Seconds for each adapter that is used, without reading it."""
    adapter_flops_per_s: float = math.inf
    draft_pass_s: float = 0.0
    """Seconds of host work for one pass of a draft."""


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


def prompt_pairs(tokens: float, cached_tokens: float = 0.0) -> float:
    """Pairs of tokens that a prompt of ``tokens`` new ones after ``cached_tokens`` attends over, twice the area."""
    return tokens * (tokens + 2 * cached_tokens)


@dataclass(frozen=True, slots=True)
class Cycle:
    """Time in which each of ``batch`` requests is served once: its prompt and all its output tokens."""

    step_s: float
    """One step without prompts."""
    steps: float
    cycle_s: float
    prefill_s: float
    """Seconds that one prompt adds to the steps of the others."""


class Roofline:
    """Times of one engine: what each token, sequence and pair of tokens adds to a step, taken once from its work.

    A plan asks for tens of thousands of steps, so everything that does not depend on the batch is divided out here.
    """

    __slots__ = (
        "_attended_s",
        "_compute_s",
        "_context_s",
        "_direct",
        "_experts_s",
        "_head_s",
        "_met_tokens",
        "_missed",
        "_pair_s",
        "_prompt_s",
        "_queries",
        "_ring",
        "_sequence_s",
        "_weights_s",
        "_windows",
        "speed",
        "work",
    )  # fmt: skip

    def __init__(self, work: StepWork, speed: Speed) -> None:
        """Divide out what no batch changes."""
        bandwidth, flops = speed.bandwidth_bytes_per_s, work.gpus * speed.compute_flops_per_s
        attention = (speed.attention_bytes_per_s or bandwidth) * (speed.attention_fp8 if work.cache_bits == 8 else 1.0)
        self.work, self.speed = work, speed
        self._queries = 1 + work.features.draft_tokens if work.features else 1
        self._weights_s = work.weights_bytes / bandwidth
        self._experts_s = work.expert_bytes / (speed.expert_bytes_per_s or bandwidth)
        chosen = work.experts_per_token / work.experts if work.experts else 0.0
        self._missed = math.log1p(-min(chosen, 1 - 1e-12))
        self._compute_s = 2 * work.parameters_active / flops
        self._head_s = 2 * work.head_parameters / flops
        self._context_s = work.kv_bytes_per_token / attention
        self._windows = tuple((tokens, size / attention) for tokens, size in work.windows)
        self._attended_s = work.state_bytes / attention
        self._pair_s = 2 * work.layers * work.attention_width / flops
        self._sequence_s, self._prompt_s = speed.host_sequence_s, speed.prompt_step_s
        self._ring = self._fixed(speed.link_latency_s, speed.link_bytes_per_s)
        self._direct, self._met_tokens = self._ring, 0.0
        if work.gpus > 1 and speed.direct_bytes_per_s:
            self._direct = self._fixed(speed.direct_latency_s, speed.direct_bytes_per_s)
            sooner, slower = self._ring[0] - self._direct[0], self._direct[1] - self._ring[1]
            self._met_tokens = sooner / slower if slower > 0 else math.inf

    def _fixed(self, latency_s: float, bytes_per_s: float) -> tuple[float, float]:
        """Seconds of a step, and of each row of bf16 in it: host, passes, and two all-reduces a layer (not on one GPU).

        The all-reduces start after ``latency_s`` and carry ``bytes_per_s``.
        """
        work, speed = self.work, self.speed
        passes = work.layers * work.hidden_size * 2 * speed.passes / speed.bandwidth_bytes_per_s
        if work.gpus == 1:
            return speed.host_step_s, passes
        row = 2 * (work.gpus - 1) / work.gpus * work.hidden_size * 2 / bytes_per_s
        return speed.host_step_s + 2 * work.layers * latency_s, passes + 2 * work.layers * row

    def touched(self, tokens: float) -> float:
        """Share of the experts that ``tokens`` tokens are sent to; tokens of like texts share some (``routing``)."""
        return -math.expm1((1 + (tokens - 1) * self.speed.routing) * self._missed)

    def step_s(self, batch: float, context_tokens: float, *, prompt_tokens: float = 0.0, pairs: float = 0.0) -> float:
        """Seconds of one step: ``batch`` decodes with ``context_tokens`` each, and ``prompt_tokens`` of prompts.

        ``pairs`` are the pairs of tokens that the prompts attend over, twice the area under the diagonal.
        """
        tokens = batch * self._queries + prompt_tokens
        memory = self._weights_s + (self._experts_s * self.touched(tokens) if self._missed else 0.0)
        compute = self._compute_s * tokens - self._head_s * prompt_tokens
        seen = context_tokens * self._context_s + self._attended_s
        for window, second in self._windows:
            seen += min(context_tokens, window) * second
        fixed, row = self._direct if tokens < self._met_tokens else self._ring
        rest = fixed + (seen + self._sequence_s) * batch + row * tokens + self._pair_s * pairs
        if prompt_tokens:
            rest += self._prompt_s
        step = smooth_max(memory, compute) + rest
        return self._with_features(self.work.features, step, batch, tokens) if self.work.features else step

    def _with_features(self, features: StepFeatures, step: float, batch: float, tokens: float) -> float:
        """Add adapters and draft to a step of ``tokens`` tokens and ``batch`` decodes, or wait for its launches."""
        speed = self.speed
        if features.slots:
            step += speed.adapters_s + features.slots * speed.adapter_slot_s
        if features.adapters:
            requests = batch + (tokens > batch * self._queries)  # and one whose prompt is read
            distinct = features.adapters * (1 - (1 - 1 / features.adapters) ** requests)
            step += distinct * (features.adapter_bytes / speed.bandwidth_bytes_per_s + speed.adapter_s)
            step += 2 * features.adapter_parameters * tokens / (self.work.gpus * speed.adapter_flops_per_s)
        if features.eager:
            step = max(step, speed.launch_s)
        if features.draft_passes and batch:
            experts = features.draft_expert_bytes / (speed.expert_bytes_per_s or speed.bandwidth_bytes_per_s)
            read = features.draft_bytes / speed.bandwidth_bytes_per_s
            read += experts * self.touched(batch) if self._missed else experts
            compute = 2 * features.draft_parameters * batch / (self.work.gpus * speed.compute_flops_per_s)
            once = smooth_max(read, compute) + speed.draft_pass_s
            step += features.draft_passes * once
        return step

    def first_token_s(self, batch: float, context_tokens: float, *, tokens: float, cached: float) -> float:
        """Seconds from the start of a prefill to its first token, chunk by chunk with ``batch`` decodes."""
        chunks = max(math.ceil(tokens / self.work.chunk_tokens), 1)
        size, pairs = tokens / chunks, prompt_pairs(tokens, cached) / chunks
        step = self.step_s(batch, context_tokens, prompt_tokens=size, pairs=pairs)
        return chunks * step + self.speed.request_s

    def cycle(
        self, batch: float, context: float, *, new: float, pairs: float, output_tokens: float, together: float = 1.0
    ) -> Cycle:
        """Return the cycle of ``batch`` requests of ``new`` prompt tokens with ``pairs``, decoding at ``context``.

        ``together`` of them arrive at once: their prompts are computed in one step, where only the first finds the
        weights read anyway.
        """
        room = max(self.work.chunk_tokens - batch * self._queries, 1.0)
        steps = max(output_tokens / self.work.tokens_per_step, 1.0)
        mixed = max(min(batch, steps) / together, batch * new / room)
        share = batch / mixed
        with_prompts = self.step_s(batch, context, prompt_tokens=share * new, pairs=share * pairs)
        plain = self.step_s(batch, context)
        steps, host = max(steps, mixed), self.speed.request_host_s
        return Cycle(
            step_s=plain,
            steps=steps,
            cycle_s=(steps - mixed) * plain + mixed * with_prompts + batch * host,
            prefill_s=max(mixed * (with_prompts - plain) / batch, 0.0) + host,
        )


def smooth_max(one_s: float, other_s: float) -> float:
    """(one^4 + other^4)^(1/4): the larger of two times, rounded where they cross.

    There real kernels reach neither limit. The power lies between 2 (in quadrature) and infinity (the larger).
    """
    larger, smaller = (one_s, other_s) if one_s > other_s else (other_s, one_s)
    share = smaller / larger
    share *= share
    return larger * math.sqrt(math.sqrt(1 + share * share))


def closed_loop(
    roofline: Roofline,
    *,
    concurrency: float,
    slots: float,
    input_tokens: float,
    output_tokens: float,
    prefix_share: float = 0.0,
    recomputed_tokens: float = 0.0,
) -> Loop:
    """Steady state of ``concurrency`` requests in flight, of which at most ``slots`` are scheduled at a time.

    Each prefills ``recomputed_tokens`` again, because it gave its cache to others on the way.
    """
    batch, token_s = max(min(concurrency, slots), 1.0), roofline.speed.token_s
    cached = input_tokens * prefix_share
    new, context = input_tokens - cached + recomputed_tokens, input_tokens + output_tokens / 2
    once = roofline.cycle(batch, context, new=new, pairs=prompt_pairs(new, cached), output_tokens=output_tokens)
    plain, cycle, prefill = once.step_s, once.cycle_s, once.prefill_s
    others = min((batch - 1) * prefill / cycle, 0.99)
    served = roofline.first_token_s(batch - 1, context, tokens=new, cached=cached) + prefill * others / (1 - others)
    served += plain / 2 * min(batch - 1, 1.0)  # the step that runs when the request arrives
    if token_s:
        cycle = smooth_max(cycle, batch * output_tokens * token_s)
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
