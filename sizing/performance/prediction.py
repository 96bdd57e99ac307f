"""Throughput of an engine at a stated concurrency, checked and explained: what ``tonnage throughput`` answers."""

from __future__ import annotations

from sizing.catalogue import Gpu
from sizing.errors import BadInput
from sizing.models.spec import ModelSpec
from sizing.performance.constants import throughput_constants
from sizing.performance.features import check_speculation, extra_figures
from sizing.performance.replica import Replica, replica_of, staged_loop
from sizing.performance.roofline import Loop
from sizing.performance.spread import interval
from sizing.plan import EngineSettings, Figure, MemoryEstimate, ThroughputEstimate
from sizing.units import GIB


def estimate_of(replica: Replica, loop: Loop, *, concurrency: float, output_tokens: float) -> ThroughputEstimate:
    """Return the steady state ``loop`` as an estimate with intervals and the rules that produced it."""
    return ThroughputEstimate(
        concurrency=concurrency,
        output_tokens_per_s=interval(replica.work, "output_tok_s", loop.output_tokens_per_s),
        ttft_ms=interval(replica.work, "ttft_ms", loop.ttft_s * 1e3),
        tpot_ms=interval(replica.work, "tpot_ms", loop.tpot_s * 1e3),
        requests_per_s=loop.output_tokens_per_s / output_tokens,
        prefill_ms=loop.prefill_s * 1e3,
        figures=_figures(replica, loop),
    )


def check_answer(model: ModelSpec, output_tokens: float, where: str) -> None:
    """Raise BadInput for answers of several tokens of a model that gives a vector or a score."""
    if not model.generates and output_tokens > 1:
        problem = f"{output_tokens:g} output tokens, but {model.name} answers with a vector or a score"
        raise BadInput(where, problem, limit="1", way_out="state one output token")


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

    Raises BadInput when a request is longer than the engine's max_model_len, a figure is not positive, or a model that
    generates no tokens is to answer with some.
    """
    check_answer(model, output_tokens, "outputTokens")
    check_speculation(engine, "")
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
    held = input_tokens + output_tokens / 2
    loop = staged_loop(
        replica,
        concurrency=concurrency,
        slots=replica.slots(held),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_share=prefix_share,
        recomputed_tokens=replica.recomputed(concurrency, held, output_tokens),
    )
    return estimate_of(replica, loop, concurrency=concurrency, output_tokens=output_tokens)


def _figures(replica: Replica, loop: Loop) -> tuple[Figure, ...]:
    document = throughput_constants()
    source = f"throughput_constants.json of {document['date']}, fitted on {document['rows']} rows"
    work, speed = replica.work, replica.speed
    return (
        Figure(
            name="step_ms",
            value=round(loop.step_s * 1e3, 3),
            unit="ms",
            rule="max(weights / bandwidth, 2 x parameters x batch / compute) + batch x context x kv / bandwidth"
            " + collectives + host",
            inputs={
                "batch": round(loop.batch, 2),
                "weights_gib": round(work.weights_bytes / GIB, 3),
                "kv_bytes_per_token": round(work.kv_bytes_per_token, 1),
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
            inputs={"gpus": work.gpus, "compute_tflops": round(speed.compute_flops_per_s / 1e12, 1)},
            source=source,
        ),
        *extra_figures(work, speed),
    )
