"""JSON documents of ``tonnage plan`` and ``tonnage throughput``: the keys of the command's contract.

Numbers are rounded so that equal plans give equal bytes on every machine; units are in the names.
"""

from __future__ import annotations

from sizing.catalogue import Catalogue
from sizing.cost.document import plan_costs
from sizing.documents import Document, bounds_document, figure_documents, interval_document
from sizing.inputs import ModelEntry
from sizing.plan import ServingPlan
from sizing.planning.planner import PlanResult
from sizing.planning.sensitivity import trade

PLAN_SCHEMA = 1


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
    result: PlanResult, entry: ModelEntry, region: str, catalogue_date: str, catalogue: Catalogue
) -> Document:
    """Return the document of ``tonnage plan``: chosen, alternatives, rejected, costs, and the inputs with defaults."""
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
        **plan_costs(result.chosen, result.pools, entry, region, catalogue),
    }
