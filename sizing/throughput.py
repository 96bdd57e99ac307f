"""Predicted speed of one replica: TTFT, TPOT and tokens per second with p10 and p90.

The arithmetic is ``sizing.roofline``; this module turns a model, a GPU and engine settings into what one step moves,
applies the calibrated constants (``sizing/catalogue/throughput_constants.json``, fitted by
``benchmarks/fit_throughput.py``) and widens each answer by the spread of the residuals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sizing.catalogue import Gpu
from sizing.errors import BadInput
from sizing.model import BYTES_OF_DTYPE, ModelSpec, Stage, group_on_rank
from sizing.plan import EngineSettings, Figure, Interval, MemoryEstimate, ThroughputEstimate
from sizing.roofline import Load, Loop, Speed, closed_loop

CONSTANTS = Path(__file__).resolve().parent / "catalogue" / "throughput_constants.json"
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One replica as the arithmetic sees it: what a step moves, how fast the GPUs are, what can be scheduled."""

    load: Load
    speed: Speed
    max_num_seqs: int
    kv_tokens: int

    def slots(self, tokens_per_request: float) -> float:
        """Requests that can be scheduled at once: by the engine's limit and by the KV cache."""
        return max(min(float(self.max_num_seqs), self.kv_tokens / max(tokens_per_request, 1.0)), 1.0)


@lru_cache(maxsize=1)
def throughput_constants() -> Mapping[str, Any]:
    """Return the calibrated constants with their provenance (read once)."""
    document: dict[str, Any] = json.loads(CONSTANTS.read_text(encoding="utf-8"))
    return document


def _compute_flops(model: ModelSpec, gpu: Gpu) -> float:
    """FLOPS at the precision in which the card multiplies this model's weights (weight-only formats use 16 bit)."""
    rates = gpu.dense_tflops
    half = rates.get("bf16") or rates.get("fp16") or 0.0
    if model.quantisation.bits == 8 and model.quantisation.granularity != "group":
        half = rates.get("fp8") or half
    return half * 1e12


def gpu_speed(model: ModelSpec, gpu: Gpu) -> Speed:
    """Return what one GPU reaches for this model, after the calibrated efficiencies."""
    document = throughput_constants()
    constants: Mapping[str, float] = document["constants"]
    group = document["gpu_class"].get(gpu.name, "default")
    link = gpu.link if f"link.{gpu.link}.efficiency" in constants else "pcie"
    return Speed(
        bandwidth_bytes_per_s=gpu.bandwidth_gb_s * 1e9 * constants[f"bandwidth.{group}"],
        compute_flops_per_s=_compute_flops(model, gpu) * constants[f"compute.{group}"],
        link_bytes_per_s=gpu.link_gb_s / 2 * 1e9 * constants[f"link.{link}.efficiency"],
        link_latency_s=constants[f"link.{link}.latency_us"] * 1e-6,
        host_step_s=constants["host.step_us"] * 1e-6,
        host_sequence_s=constants["host.sequence_us"] * 1e-6,
        request_s=constants["host.request_us"] * 1e-6,
    )


def load_of(model: ModelSpec, engine: EngineSettings) -> Load:
    """Return what one step of ``model`` moves and computes on each GPU."""
    tp, ranks = engine.tensor_parallel, engine.tensor_parallel * engine.pipeline_parallel
    return _load(model, tp, ranks, model.kv_element_bytes(engine.kv_cache_dtype), engine.max_num_batched_tokens)


@lru_cache(maxsize=1024)
def _load(model: ModelSpec, tp: int, gpus: int, element: int, chunk_tokens: int) -> Load:
    whole = Stage(first=0, layers=model.num_layers, of=model.num_layers)
    stages = gpus // tp
    read, experts, head, table = 0, 0, 0, 0
    for group in model.weights:
        size = 0 if group.draft else group_on_rank(model, group, tp, 1, whole)
        if group.expert:
            experts += size
        elif group.name == "embed_tokens" and not model.tie_word_embeddings:
            table += group.elements
        else:
            read += size
        if group.name == ("embed_tokens" if model.tie_word_embeddings else "lm_head"):
            head = group.elements
    windows: dict[int, float] = {}
    growing, states, width = 0.0, 0.0, 0.0
    for kept in model.kv_groups:
        layers = len(kept.layers)
        if kept.grows:
            growing += layers * kept.token_bytes(element, tp)
            width += layers * model.num_attention_heads * model.head_dim
        elif kept.kind == "state":
            states += 2 * layers * kept.state_bytes(BYTES_OF_DTYPE[model.dtype], tp)
        elif kept.window:
            windows[kept.window] = windows.get(kept.window, 0.0) + layers * kept.token_bytes(element, tp) / stages
    return Load(
        weights_bytes=read / stages,
        kv_bytes_per_token=growing / stages,
        parameters_active=float(model.active_parameters - table),
        layers=model.num_layers,
        hidden_size=model.hidden_size,
        attention_width=round(width / model.num_layers),
        gpus=gpus,
        chunk_tokens=chunk_tokens,
        expert_bytes=experts / stages,
        experts=model.experts,
        experts_per_token=model.experts_per_token,
        windows=tuple(sorted(windows.items())),
        state_bytes=states / stages,
        head_parameters=float(head),
    )


def replica_of(model: ModelSpec, gpu: Gpu, engine: EngineSettings, memory: MemoryEstimate) -> Replica:
    """Return one replica of ``model`` on ``gpu`` with these settings and the KV cache that is predicted for them."""
    load = load_of(model, engine)
    return Replica(
        load=load, speed=gpu_speed(model, gpu), max_num_seqs=engine.max_num_seqs, kv_tokens=max(memory.kv_tokens, 1)
    )


def interval(measure: str, value: float) -> Interval:
    """Widen a prediction by the spread of the residuals of ``measure`` (output_tok_s, tpot_ms, ttft_ms)."""
    factors = throughput_constants()["spread"][measure]
    return Interval(p10=value * factors["p10"], p50=value, p90=value * factors["p90"])


def estimate_of(replica: Replica, loop: Loop, *, concurrency: float, output_tokens: float) -> ThroughputEstimate:
    """Return the steady state ``loop`` as an estimate with intervals and the rules that produced it."""
    return ThroughputEstimate(
        concurrency=concurrency,
        output_tokens_per_s=interval("output_tok_s", loop.output_tokens_per_s),
        ttft_ms=interval("ttft_ms", loop.ttft_s * 1e3),
        tpot_ms=interval("tpot_ms", loop.tpot_s * 1e3),
        requests_per_s=loop.output_tokens_per_s / output_tokens,
        figures=_figures(replica, loop),
    )


def predict_throughput(
    model: ModelSpec,
    gpu: Gpu,
    engine: EngineSettings,
    memory: MemoryEstimate,
    *,
    concurrency: float,
    input_tokens: float,
    output_tokens: float,
    prefix_share: float = 0.0,
) -> ThroughputEstimate:
    """Predict one replica with ``concurrency`` requests in flight, each followed by the next as soon as it ends.

    Raises BadInput when a request is longer than the engine's max_model_len or a figure is not positive.
    """
    if concurrency <= 0 or output_tokens < 1 or input_tokens < 1:
        raise BadInput("throughput", "concurrency, input and output tokens must be positive")
    if input_tokens + output_tokens > engine.max_model_len:
        raise BadInput(
            "inputTokens + outputTokens",
            f"{input_tokens + output_tokens:g} tokens do not fit one request",
            limit=f"max_model_len {engine.max_model_len}",
            way_out="shorten the request or raise max_model_len",
        )
    replica = replica_of(model, gpu, engine, memory)
    loop = closed_loop(
        replica.load,
        replica.speed,
        concurrency=concurrency,
        slots=replica.slots(input_tokens + output_tokens / 2),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_share=prefix_share,
    )
    return estimate_of(replica, loop, concurrency=concurrency, output_tokens=output_tokens)


def _figures(replica: Replica, loop: Loop) -> tuple[Figure, ...]:
    document = throughput_constants()
    source = f"throughput_constants.json of {document['date']}, fitted on {document['rows']} rows"
    load, speed = replica.load, replica.speed
    return (
        Figure(
            name="step_ms",
            value=round(loop.step_s * 1e3, 3),
            unit="ms",
            rule="max(weights / bandwidth, 2 x parameters x batch / compute) + batch x context x kv / bandwidth"
            " + collectives + host",
            inputs={
                "batch": round(loop.batch, 2),
                "weights_gib": round(load.weights_bytes / GIB, 3),
                "kv_bytes_per_token": round(load.kv_bytes_per_token, 1),
                "bandwidth_gb_s": round(speed.bandwidth_bytes_per_s / 1e9, 1),
                "compute_tflops": round(speed.compute_flops_per_s / 1e12, 1),
                "host_step_ms": round(speed.host_step_s * 1e3, 3),
            },
            source=source,
        ),
        Figure(
            name="prefill_ms",
            value=round(loop.prefill_s * 1e3, 3),
            unit="ms",
            rule="(2 x parameters x tokens + 2 x layers x attention width x tokens^2) / compute + collectives",
            inputs={"gpus": load.gpus, "compute_tflops": round(speed.compute_flops_per_s / 1e12, 1)},
            source=source,
        ),
    )
