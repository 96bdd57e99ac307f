"""Predicted speed of one replica: TTFT, TPOT and tokens per second with p10 and p90.

The arithmetic is ``sizing.performance.roofline``; this module turns a model, a GPU and engine settings into what one
step moves, applies the calibrated constants (``sizing/catalogue/throughput_constants.json``, fitted by
``benchmarks/throughput/fit.py``) and widens each answer by the spread of the residuals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from sizing.catalogue import Gpu
from sizing.models.spec import BYTES_OF_DTYPE, ModelSpec, group_on_rank
from sizing.models.weight_groups import Stage
from sizing.performance.all_reduce import all_reduce
from sizing.performance.constants import throughput_constants
from sizing.performance.features import step_features
from sizing.performance.roofline import Loop, Roofline, Speed, StepWork, closed_loop
from sizing.plan import EngineSettings, MemoryEstimate

RECOMPUTED = 0.7
"""Tokens that a request prefills again for each of its output tokens, where more are in flight than the cache holds.

vLLM admits a request as soon as its prompt fits; when running requests then fill the cache, it is preempted and
recomputed. ``benchmarks/throughput/preemption.py`` replays these rules: 0.5 to 0.8 with prefix caching, 0.6 to 0.9
without.
"""


UNBOUNDED_TOKENS = 10**12
"""Cache of a model without one, which never binds."""


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One replica as the arithmetic sees it: what a step moves, how fast the GPUs are, what can be scheduled."""

    work: StepWork
    speed: Speed
    max_num_seqs: int
    kv_tokens: int
    longest: int = 10_000_000
    """Tokens of the longest request that is taken (max_model_len)."""
    stages: int = 1
    """Stages of a pipeline: each serves its share of the requests at a time, so ``work`` is that of all stages in
    turn on the GPUs of one, and that many batches are in flight."""

    @cached_property
    def roofline(self) -> Roofline:
        """Times of its steps."""
        return Roofline(self.work, self.speed)

    def slots(self, tokens_per_request: float) -> float:
        """Requests that can be scheduled at once: by the engine's limit and by the KV cache."""
        return max(min(float(self.max_num_seqs), self.kv_tokens / max(tokens_per_request, 1.0)), 1.0)

    def recomputed(self, concurrency: float, tokens_per_request: float, output_tokens: float) -> float:
        """Prompt tokens that each request prefills again, because the cache does not hold all that is scheduled."""
        scheduled = min(concurrency, float(self.max_num_seqs))
        return RECOMPUTED * output_tokens if scheduled * tokens_per_request > self.kv_tokens else 0.0


def gpu_speed(model: ModelSpec, gpu: Gpu, gpus: int) -> Speed:
    """Return what one of ``gpus`` GPUs reaches for this model, after the calibrated efficiencies."""
    document = throughput_constants()
    return speed_of(document["constants"], document["gpu_class"], model, gpu, gpus)


def speed_of(
    constants: Mapping[str, float], classes: Mapping[str, str], model: ModelSpec, gpu: Gpu, gpus: int
) -> Speed:
    """Return the speed of one of ``gpus`` GPUs under these constants.

    Efficiencies belong to a class of cards (``classes``; one that is absent takes the default). Steps of a mixture of
    experts or of latent attention launch more kernels per layer, which counts as host time of the step. All-reduces are
    as measured alone (``sizing.performance.all_reduce``), times the share of that bandwidth that a model reaches, plus
    the skew between ranks, which grows with log2 of their number.
    """
    group = classes.get(gpu.name, "default")
    reduce, apart_s = all_reduce(gpu, gpus), constants["link.apart_us"] * 1e-6 * math.log2(max(gpus, 2))
    carried = constants["link.nvlink" if gpu.link in {"fabric", "nvlink"} else "link.pcie"]
    bandwidth, experts = gpu.bandwidth_gb_s * 1e9, bool(model.experts)
    layer_us = constants["host.layer_us"] + experts * constants["experts.layer_us"]
    eager_us = constants["eager.layer_us"] + experts * constants["eager.experts_us"]
    eager_us += (gpus > 1) * constants["eager.link_us"]
    if any(kept.kind == "latent" for kept in model.kv_groups):
        layer_us += constants["latent.layer_us"]
    return Speed(
        bandwidth_bytes_per_s=bandwidth * constants[f"bandwidth.{group}"],
        compute_flops_per_s=_flops(constants, group, model, gpu),
        attention_bytes_per_s=bandwidth * constants["attention.bandwidth"],
        expert_bytes_per_s=bandwidth * constants[f"bandwidth.{group}"] * constants["experts.bandwidth"],
        link_bytes_per_s=reduce.ring_bytes_per_s * carried,
        link_latency_s=reduce.ring_latency_s + apart_s,
        direct_bytes_per_s=reduce.direct_bytes_per_s * carried,
        direct_latency_s=reduce.direct_latency_s + apart_s,
        attention_fp8=constants["attention.fp8"],
        host_step_s=(constants["host.step_us"] + model.num_layers * layer_us) * 1e-6,
        host_sequence_s=constants["host.sequence_us"] * 1e-6,
        prompt_step_s=experts * model.num_layers * constants["experts.prompt_us"] * 1e-6,
        request_s=constants["host.first_token_us"] * 1e-6,
        request_host_s=constants["host.request_us"] * 1e-6,
        token_s=constants["host.token_us"] * 1e-6,
        routing=constants["experts.routing"],
        passes=constants["passes"] + constants["experts.passes"] * model.experts_per_token,
        launch_s=model.num_layers * eager_us * 1e-6,
        adapters_s=model.num_layers * constants["adapters.layer_us"] * 1e-6,
        adapter_slot_s=model.num_layers * constants["adapters.slot_us"] * 1e-6,
        adapter_s=model.num_layers * constants["adapters.each_us"] * 1e-6,
        adapter_flops_per_s=_flops(constants, group, model, gpu) * constants["adapters.compute"],
        draft_pass_s=constants["draft.pass_us"] * 1e-6,
    )


def _flops(constants: Mapping[str, float], group: str, model: ModelSpec, gpu: Gpu) -> float:
    """FLOPS at the precision in which the card multiplies these weights (weight-only formats use 16 bit)."""
    rates, stored = gpu.dense_tflops, model.quantisation
    best = (rates.get("bf16") or rates.get("fp16") or 0.0) * 1e12 * constants[f"compute.{group}"]
    if stored.bits == 8 and stored.granularity != "group" and rates.get("fp8"):
        best = rates["fp8"] * 1e12 * constants[f"compute.{group}"] * constants["fp8.compute"]
    elif stored.bits <= 8:  # the weights are unpacked to 16 bits on the way
        best *= constants["int4.compute"]
    return best * (constants["experts.compute"] if model.experts else 1.0)


def step_work(model: ModelSpec, engine: EngineSettings) -> StepWork:
    """Return what one step of ``model`` moves and computes on each GPU."""
    tp, ranks = engine.tensor_parallel, engine.tensor_parallel * engine.pipeline_parallel
    work = _work_of(model, tp, ranks, model.kv_element_bytes(engine.kv_cache_dtype), engine.max_num_batched_tokens)
    if not (engine.enforce_eager or engine.max_loras or engine.num_speculative_tokens):
        return work
    matrices = _matrices(model, tp)
    return replace(work, features=step_features(model, engine, matrices.head, matrices.head_bytes))


@dataclass(frozen=True)
class _Matrices:
    """Weights of one rank: bytes that a step reads, and parameters that not every token multiplies."""

    read: int
    experts: int
    skipped: int
    """Parameters that no token of a text request multiplies: the embedding table, image and audio encoders."""
    head: int
    head_bytes: int


def _matrices(model: ModelSpec, tp: int) -> _Matrices:
    whole = Stage(first=0, layers=model.num_layers, of=model.num_layers)
    head_name = "embed_tokens" if model.tie_word_embeddings else "lm_head"
    read = experts = skipped = head = head_bytes = 0
    for group in model.weights:
        if group.draft or group.derived or group.tied:
            continue
        size = group_on_rank(model, group, tp, 1, whole)
        if group.expert:
            experts += size
        elif group.place in {"first", "every"} and group.name != head_name:
            skipped += group.elements
        else:
            read += size
        if group.name == head_name:
            head, head_bytes = head + group.elements, head_bytes + size
    return _Matrices(read=read, experts=experts, skipped=skipped, head=head, head_bytes=head_bytes)


@lru_cache(maxsize=1024)
def _work_of(model: ModelSpec, tp: int, gpus: int, element: int, chunk_tokens: int) -> StepWork:
    matrices, stages = _matrices(model, tp), gpus // tp
    windows: dict[int, float] = {}
    growing, states, full = 0.0, 0.0, 0
    for kept in model.kv_groups:
        layers = len(kept.layers)
        if kept.grows:
            growing += layers * kept.token_bytes(element, tp)
            full += layers
        elif kept.kind == "state":
            states += 2 * layers * kept.state_bytes(BYTES_OF_DTYPE[model.dtype], tp)
        elif kept.window:
            windows[kept.window] = windows.get(kept.window, 0.0) + layers * kept.token_bytes(element, tp) / stages
    share = min(full / model.num_layers, 1.0)
    return StepWork(
        weights_bytes=matrices.read / stages,
        kv_bytes_per_token=growing / stages,
        parameters_active=float(model.active_parameters - matrices.skipped),
        layers=model.num_layers,
        hidden_size=model.hidden_size,
        attention_width=round(share * model.num_attention_heads * model.head_dim),
        gpus=gpus,
        chunk_tokens=chunk_tokens,
        expert_bytes=matrices.experts / stages,
        experts=model.experts,
        experts_per_token=model.experts_per_token,
        windows=tuple(sorted(windows.items())),
        state_bytes=states / stages,
        cache_bits=8 * element,
        head_parameters=float(matrices.head),
    )


def replica_of(model: ModelSpec, gpu: Gpu, engine: EngineSettings, memory: MemoryEstimate) -> Replica:
    """Return one replica of ``model`` on ``gpu`` with these settings and the KV cache that is predicted for them.

    A model without a cache never lacks room in it.
    """
    return replica_with(model, gpu, engine, kv_tokens=max(memory.kv_tokens, 1) if model.kv_groups else UNBOUNDED_TOKENS)


def replica_with(model: ModelSpec, gpu: Gpu, engine: EngineSettings, *, kv_tokens: int) -> Replica:
    """Return one replica with a cache of ``kv_tokens``; ``work`` and ``speed`` are those of one stage's GPUs."""
    speed, stages = gpu_speed(model, gpu, engine.tensor_parallel), engine.pipeline_parallel
    return Replica(
        work=step_work(model, replace(engine, pipeline_parallel=1)),
        speed=replace(speed, host_step_s=speed.host_step_s + (stages - 1) * speed.link_latency_s),
        stages=stages,
        max_num_seqs=engine.max_num_seqs,
        kv_tokens=kv_tokens,
        longest=engine.max_model_len,
    )


def staged_loop(
    replica: Replica,
    *,
    concurrency: float,
    slots: float,
    input_tokens: float,
    output_tokens: float,
    prefix_share: float,
    recomputed_tokens: float = 0.0,
) -> Loop:
    """Return the closed loop of a replica: of each batch in its pipeline, with the throughput of all."""
    stages = replica.stages
    loop = closed_loop(
        replica.roofline,
        concurrency=concurrency / stages,
        slots=slots / stages,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_share=prefix_share,
        recomputed_tokens=recomputed_tokens,
    )
    if stages == 1:
        return loop
    most = min(concurrency, slots)  # fewer requests than stages leave stages idle
    return replace(loop, batch=most, output_tokens_per_s=loop.output_tokens_per_s * min(stages, most))
