"""JSON documents of ``tonnage plan`` and ``tonnage throughput``: the keys of the command's contract.

Numbers are rounded so that equal plans give equal bytes on every machine; units are in the names.
"""

from __future__ import annotations

from collections.abc import Sequence

from sizing.catalogue import Catalogue, load_catalogue
from sizing.inputs import ModelEntry
from sizing.plan import Bounds, EngineSettings, Figure, Interval, ServingPlan, ThroughputEstimate
from sizing.plan_costs import plan_costs
from sizing.plan_study import trade
from sizing.planner import PlanResult

PLAN_SCHEMA = 1
THROUGHPUT_SCHEMA = 1

Document = dict[str, object]


def interval_document(interval: Interval, digits: int = 2) -> Document:
    """Return p10, p50, p90."""
    return {
        "p10": round(interval.p10, digits),
        "p50": round(interval.p50, digits),
        "p90": round(interval.p90, digits),
    }


def bounds_document(bounds: Bounds, digits: int = 4) -> Document:
    """Return floor, expected, ceiling."""
    return {
        "floor": round(bounds.floor, digits),
        "expected": round(bounds.expected, digits),
        "ceiling": round(bounds.ceiling, digits),
    }


def figure_documents(figures: Sequence[Figure]) -> list[Document]:
    """Return the explanation: one object for each figure."""
    return [
        {
            "name": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "rule": figure.rule,
            "inputs": dict(sorted(figure.inputs.items())),
            "source": figure.source,
        }
        for figure in figures
    ]


def _option(plan: ServingPlan, chosen: ServingPlan) -> Document:
    return {
        "model": plan.model,
        "gpu": plan.gpu,
        "instance_type": plan.instance_type,
        "instances_per_replica": plan.instances_per_replica,
        "replicas_per_instance": plan.replicas_per_instance,
        "tensor_parallel": plan.tensor_parallel,
        "pipeline_parallel": plan.pipeline_parallel,
        "replicas": {
            "floor": plan.replicas.floor,
            "expected": plan.replicas.expected,
            "ceiling": plan.replicas.ceiling,
        },
        "engine_args": list(plan.engine_args),
        "usd_per_hour": bounds_document(plan.usd_per_hour),
        "usd_per_million_output_tokens": round(plan.usd_per_million_output_tokens, 4),
        "ttft_ms": interval_document(plan.throughput.ttft_ms),
        "tpot_ms": interval_document(plan.throughput.tpot_ms),
        "output_tokens_per_s": interval_document(plan.throughput.output_tokens_per_s),
        "concurrency": round(plan.throughput.concurrency, 2),
        "kv_tokens": plan.memory.kv_tokens,
        "meets": plan.meets,
        "trades": list(trade(chosen, plan)),
        "explanation": figure_documents(plan.figures),
    }


def plan_document(
    result: PlanResult, entry: ModelEntry, region: str, catalogue_date: str, catalogue: Catalogue | None = None
) -> Document:
    """Return the document of ``tonnage plan``: chosen, alternatives, rejected, costs, with the inputs as resolved."""
    return {
        "schema": PLAN_SCHEMA,
        "model": result.chosen.model,
        "region": region,
        "catalogue_date": catalogue_date,
        "inputs": {
            "model": entry.model,
            "workload": entry.workload.model_dump(mode="json"),
            "objectives": entry.objectives.model_dump(mode="json"),
        },
        "chosen": _option(result.chosen, result.chosen),
        "alternatives": [_option(plan, result.chosen) for plan in result.alternatives],
        "rejected": [{"option": one.option, "reason": one.reason} for one in result.rejected],
        **plan_costs(result.chosen, result.pools, entry, region, catalogue or load_catalogue()),
    }


def throughput_document(
    estimate: ThroughputEstimate, *, model: str, gpu: str, engine: EngineSettings, input_tokens: int, output_tokens: int
) -> Document:
    """Return the document of ``tonnage throughput``: tokens per second, TTFT and TPOT with p10, p50, p90."""
    return {
        "schema": THROUGHPUT_SCHEMA,
        "output_tokens_per_s": interval_document(estimate.output_tokens_per_s),
        "ttft_ms": interval_document(estimate.ttft_ms),
        "tpot_ms": interval_document(estimate.tpot_ms),
        "requests_per_s": round(estimate.requests_per_s, 4),
        "inputs": {
            "model": model,
            "gpu": gpu,
            "concurrency": estimate.concurrency,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "tensor_parallel": engine.tensor_parallel,
            "pipeline_parallel": engine.pipeline_parallel,
            "max_model_len": engine.max_model_len,
            "max_num_seqs": engine.max_num_seqs,
            "max_num_batched_tokens": engine.max_num_batched_tokens,
            "vllm_version": engine.vllm_version,
        },
        "explanation": figure_documents(estimate.figures),
    }
