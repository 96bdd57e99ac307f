"""The document of an offline preview: what a stack would deploy, on which GPUs, why, and at what cost.

``tonnage preview --format json`` prints it, every other format renders it, and ``infra.difference`` compares two.
Prices are USD, sizes GiB, months have 730 hours. Lists are sorted, so the same stack gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from infra.settings.cluster import ClusterSettings
from infra.settings.schema import StackSettings
from infra.settings.serving import ServingSettings
from sizing.catalogue import Catalogue
from sizing.cost.bill import total
from sizing.cost.budget import least_budget
from sizing.cost.cluster_bill import fixed_bill_cluster
from sizing.cost.document import burn_document, stack_costs
from sizing.cost.purchase_terms import purchase_document, purchase_terms
from sizing.documents import figure_documents
from sizing.plan import (
    BillLine,
    Bounds,
    NodePoolPlan,
    Replicas,
    ServingPlan,
    SharedNodes,
    StackPlan,
)  # fmt: skip
from sizing.plan.operation import GatewayPlan
from sizing.planning.planner import PlanResult
from sizing.serving.gateway import request_timeout_s
from sizing.serving.lifecycle import drained_s
from sizing.serving.upgrades import upgrade_losses

if TYPE_CHECKING:
    from infra.offline import OfflineGraph
    from infra.recording import RecordedResource

PREVIEW_SCHEMA = 1
"""Version of the document; a key is never renamed or removed within one."""
INTERNAL_TYPES = ("pulumi:providers:", "pulumi:pulumi:")
Document = dict[str, Any]


def build_preview(stack: str, graph: OfflineGraph, verdicts: Sequence[Mapping[str, Any]]) -> Document:
    """Return the preview of one stack: its plan (serving layer) or its fixed bill (cluster layer), and its resources.

    ``verdicts`` are the documents of the policies about the same graph. ``difference`` is null until
    ``infra.difference.compare`` fills it.
    """
    plan, settings = graph.plan, graph.settings
    catalogue = graph.catalogue
    others = graph.planned.alone if graph.planned else {}
    costs = stack_costs(plan, settings.models, catalogue) if plan and isinstance(settings, ServingSettings) else {}
    bill = plan.bill if plan else _cluster_bill(settings, graph.resources, catalogue)
    burn = plan.burn_usd_per_hour if plan else total(bill)
    document: Document = {
        "schema": PREVIEW_SCHEMA,
        "stack": stack,
        "layer": settings.layer,
        "region": settings.region,
        "prices_of": plan.catalogue_date if plan else catalogue.date,
        "models": [{**_model(one, others.get(one.name)), **costs.get(one.name, {})} for one in plan.models]
        if plan
        else [],
        "pools": [_pool(pool) for pool in plan.pools] if plan else [],
        "shared": [_shared(one) for one in plan.shared] if plan else [],
        "vector_store": _vector_store(plan),
        "upgrades": [asdict(one) for model in plan.models for one in upgrade_losses(model, plan.pools)] if plan else [],
        "gateway": _gateway(plan.gateway) if plan else None,
        "figures": figure_documents(plan.figures, digits=4) if plan else [],
        "bill": [{"name": line.name, "usd_per_hour": _bounds(line.usd_per_hour), "rule": line.rule} for line in bill],
        "burn": burn_document(burn),
        "purchase_terms": purchase_document(purchase_terms(plan.pools, plan.region)) if plan else None,
        "budget": _budget(plan, burn) if plan else None,
        "resources": _resources(graph.resources),
        "policies": [dict(verdict) for verdict in verdicts],
        "warnings": [*(plan.warnings if plan else ()), *_messages(graph.messages)],
        "before_up": [asdict(step) for step in graph.before_up],
        "difference": None,
    }
    return {**document, "summary": _summary(document)}


def _messages(messages: Sequence[tuple[str, str]]) -> list[str]:
    """Return what the program logged from warnings upwards, each once: the engine would show it, so a preview does."""
    return sorted({" ".join(text.split()) for _, text in messages})


def _cluster_bill(
    settings: StackSettings, resources: Sequence[RecordedResource], catalogue: Catalogue
) -> tuple[BillLine, ...]:
    """Return the fixed bill of a cluster stack; NAT gateways and endpoints are counted in its graph."""
    if not isinstance(settings, ClusterSettings):
        return ()
    endpoints = [one for one in resources if one.type == "aws:ec2/vpcEndpoint:VpcEndpoint"]
    nodes = settings.system_nodes
    return fixed_bill_cluster(
        settings.region,
        catalogue,
        zones=len(settings.zone_ids or ()) or settings.zones,
        nat_gateways=sum(one.type == "aws:ec2/natGateway:NatGateway" for one in resources),
        interface_endpoints=sum(one.props.get("vpcEndpointType") == "Interface" for one in endpoints),
        system_instance_type=nodes.instance_type,
        system_nodes=nodes.count,
        system_disk_gib=nodes.disk_gib,
        flow_logs=settings.flow_log_days > 0,
    )


def _same(one: ServingPlan, other: ServingPlan) -> bool:
    return (one.gpu, one.instance_type, one.tensor_parallel) == (other.gpu, other.instance_type, other.tensor_parallel)


def _why(plan: ServingPlan, result: PlanResult) -> str:
    """Return one sentence on why this instance type: what it was compared with, and the next best."""
    ours = plan.usd_per_hour.expected
    others = [one for one in (result.chosen, *result.alternatives) if not _same(one, plan)]
    if plan.shares_with:
        return (
            f"cheapest on nodes shared with {', '.join(plan.shares_with)}: its part is ${ours:,.2f} an hour expected; "
            f"on its own, {_machine(result.chosen)} would be ${result.chosen.usd_per_hour.expected:,.2f}"
        )
    if not _same(result.chosen, plan):
        cheapest = result.chosen
        return (
            f"cheapest together with the other models within the budget; alone, {_machine(cheapest)} would be "
            f"${cheapest.usd_per_hour.expected:,.2f} an hour expected, ceiling ${cheapest.usd_per_hour.ceiling:,.2f}"
        )
    if not others:
        return "the only option that is allowed, fits and meets the objectives"
    after = others[0]
    return (
        f"cheapest that fits and meets the objectives: ${ours:,.2f} an hour expected; "
        f"next is {_machine(after)} at ${after.usd_per_hour.expected:,.2f}; {len(result.rejected)} others lost"
    )


def _machine(plan: ServingPlan) -> str:
    return f"{plan.gpu} ({plan.instance_type}, TP {plan.tensor_parallel})"


def _alternative(plan: ServingPlan) -> Document:
    return {
        "gpu": plan.gpu,
        "instance_type": plan.instance_type,
        "tensor_parallel": plan.tensor_parallel,
        "replicas": _replicas(plan.replicas),
        "usd_per_hour": _bounds(plan.usd_per_hour),
        "meets": plan.meets,
    }


def _model(plan: ServingPlan, result: PlanResult | None) -> Document:
    alternatives = (result.chosen, *result.alternatives) if result else ()
    memory, speed = plan.memory, plan.throughput
    return {
        "name": plan.name,
        "model": plan.model,
        "revision": plan.revision,
        "gpu": plan.gpu,
        "instance_type": plan.instance_type,
        "instances_per_replica": plan.instances_per_replica,
        "replicas_per_instance": plan.replicas_per_instance,
        "tensor_parallel": plan.tensor_parallel,
        "pipeline_parallel": plan.pipeline_parallel,
        "replicas": _replicas(plan.replicas),
        "scale_to_zero": plan.scale_to_zero,
        "loss_tolerance": plan.loss_tolerance,
        "engine_args": list(plan.engine_args),
        "per_gpu": {
            key: round(getattr(memory, key), 3)
            for key in ("total_gib", "requested_gib", "weights_gib", "peak_activation_gib", "non_torch_gib",
                        "cuda_graph_gib", "kv_cache_gib")
        },
        "kv": {"tokens": memory.kv_tokens, "max_concurrency": round(memory.max_concurrency, 3)},
        "binding": memory.binding,
        "output_tokens_per_s": _rounded(asdict(speed.output_tokens_per_s)),
        "ttft_ms": _rounded(asdict(speed.ttft_ms)),
        "tpot_ms": _rounded(asdict(speed.tpot_ms)),
        "meets": plan.meets,
        "why": _why(plan, result) if result else "",
        "alternatives": [_alternative(one) for one in alternatives if not _same(one, plan)],
        "start_up_s": round(plan.start_up.total_s, 1),
        "startup_budget_s": plan.probes.startup.period_s * plan.probes.startup.failure_threshold,
        "grace_period_s": plan.drain.grace_period_s,
        "longest_answer": _longest_answer(plan),
        "drain": {
            "drain_s": drained_s(plan.drain),
            "grace_period_s": plan.drain.grace_period_s,
            "interrupted_share": round(plan.interrupted_share, 6),
        },
        "shm_gib": plan.resources.shm_gib,
        "surge": plan.surge,
        "pools": list(plan.pools),
        "shares_with": list(plan.shares_with),
        "usd_per_hour": _bounds(plan.usd_per_hour),
        "usd_per_million_output_tokens": round(plan.usd_per_million_output_tokens, 4),
        "figures": figure_documents(plan.figures, digits=4),
    }  # fmt: skip


def _longest_answer(plan: ServingPlan) -> Document:
    longest = plan.longest_answer
    return {
        "output_tokens": longest.output_tokens,
        "stated": longest.stated,
        "token_ms": round(longest.token_ms, 2),
        "total_s": longest.total_s,
        "request_timeout_s": request_timeout_s(longest),
    }


def _replicas(replicas: Replicas) -> Document:
    return {"floor": replicas.floor, "expected": replicas.expected, "ceiling": replicas.ceiling}


def _pool(pool: NodePoolPlan) -> Document:
    return {
        "name": pool.name,
        "kind": pool.kind,
        "capacity_type": pool.capacity_type,
        "gpu": pool.gpu,
        "instance_types": [offer.instance_type for offer in pool.offers],
        "zones": list(pool.zones),
        "instances": {
            "floor": pool.floor_instances,
            "expected": pool.expected_instances,
            "ceiling": pool.ceiling_instances,
        },
        "gpu_limit": pool.gpu_limit,
        "disk_gib": pool.disk.size_gib,
        "models": list(pool.models),
        "usd_per_hour": _bounds(pool.usd_per_hour),
        "figures": figure_documents(pool.figures, digits=4),
    }


def _shared(nodes: SharedNodes) -> Document:
    return {
        "name": nodes.name,
        "models": list(nodes.models),
        "gpu": nodes.gpu,
        "instance_type": nodes.instance_type,
        "gpus_per_node": nodes.gpus_per_node,
        "pools": list(nodes.pools),
        "usd_per_hour": _bounds(nodes.usd_per_hour),
        "apart_usd_per_hour": _bounds(nodes.apart_usd_per_hour),
        "saving_usd_per_hour": round(nodes.saving_usd_per_hour, 4),
        "says": nodes.sentence,
    }


def _vector_store(plan: StackPlan | None) -> Document | None:
    if plan is None or plan.vector_store is None:
        return None
    store = plan.vector_store
    return {
        "replicas": store.replicas,
        "memory_gib": store.memory_gib,
        "cpu": store.cpu,
        "disk_gib": store.disk_gib,
        "shards": store.shards,
        "figures": figure_documents(store.figures, digits=4),
    }


def _gateway(gateway: GatewayPlan) -> Document:
    return {**asdict(gateway), "routes": [{**asdict(route), "paths": list(route.paths)} for route in gateway.routes]}


def _budget(plan: StackPlan, burn: Bounds) -> Document:
    budget = plan.budget
    ceiling = least_budget(burn.ceiling)
    return {
        "monthly_usd": budget.monthly_usd,
        "on_exceed": budget.on_exceed,
        "notify": list(budget.notify),
        "actual_thresholds_percent": list(budget.actual_thresholds_percent),
        "forecast_threshold_percent": budget.forecast_threshold_percent,
        "fast_burn_gpu_nodes": budget.fast_burn_gpu_nodes,
        "fast_burn_vcpus": budget.fast_burn_vcpus,
        "figures": figure_documents(budget.figures, digits=4),
        "within": ceiling <= budget.monthly_usd,
        "ceiling_share": round(ceiling / budget.monthly_usd, 4),
        "headroom_usd": round(budget.monthly_usd - ceiling, 2),
    }


def _resources(resources: Sequence[RecordedResource]) -> list[Document]:
    """Return the registered resources without providers and stack references; components are marked."""
    rows = [
        {"type": one.type, "name": one.name, "component": not one.custom, "digest": _digest(one)}
        for one in resources
        if not one.type.startswith(INTERNAL_TYPES)
    ]
    return sorted(rows, key=lambda row: (row["type"], row["name"]))


def _digest(resource: RecordedResource) -> str:
    """Return a hash of the inputs without secrets, by which later previews detect a change."""
    props = {key: value for key, value in resource.props.items() if key not in resource.secret_keys}
    canonical = json.dumps(props, sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _summary(document: Document) -> str:
    """Return the whole preview as one or two sentences."""
    month = {bound: f"${document['burn'][bound]['usd_per_month']:,.0f}" for bound in ("floor", "expected", "ceiling")}
    count = len(document["resources"])
    if not document["models"]:
        return f"{count} resources; {month['expected']} a month, whatever the traffic."
    served = ", ".join(
        f"{model['name']} on {model['gpu']} ({model['instance_type']}, TP {model['tensor_parallel']})"
        for model in document["models"]
    )
    budget = document["budget"]
    verdict = "within" if budget["within"] else "OVER"
    return (
        f"Serves {served}. {month['expected']} a month expected, never more than {month['ceiling']}: "
        f"{verdict} the budget of ${budget['monthly_usd']:,.0f}. {count} resources."
    )


def _rounded(values: Mapping[str, float]) -> Document:
    return {key: round(value, 1) for key, value in values.items()}


def _bounds(bounds: Bounds) -> Document:
    return {key: round(value, 4) for key, value in asdict(bounds).items()}
