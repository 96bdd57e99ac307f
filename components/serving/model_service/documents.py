"""Documents around the engine's pod: Deployment, Service, disruption budget, network policy, scaling, scraping."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from components.common.kubernetes import Document, aws_egress, dns_egress, from_namespace, selector, tcp
from components.serving.model_service.pod import COMPONENT, PORT, cold_start_s, pod_template
from sizing.errors import BadInput
from sizing.plan import NodePoolPlan, ServingPlan

PROXY_LABELS = {
    "app.kubernetes.io/component": "proxy",
    "app.kubernetes.io/managed-by": "envoy-gateway",
}
"""Labels that Envoy Gateway puts on its data plane pods."""

PROMETHEUS_LABELS = {"app.kubernetes.io/name": "prometheus"}


def check_supported(plan: ServingPlan) -> None:
    """Refuse what one Deployment cannot run: an engine that spans several machines."""
    if plan.instances_per_replica != 1:
        raise BadInput(
            f"model {plan.name}",
            f"a replica spans {plan.instances_per_replica} instances",
            limit="1 instance per replica",
            way_out="choose a GPU or a tensor parallelism that fits one machine",
        )


def deployment(
    plan: ServingPlan,
    pools: Sequence[NodePoolPlan],
    *,
    image: Any,
    bucket: Any,
    region: str,
    service_account: str,
    extra_labels: Mapping[str, str] | None = None,
) -> Document:
    """Return the Deployment's spec; ``replicas`` is the floor and belongs to the autoscaler after creation."""
    check_supported(plan)
    return {
        "replicas": plan.replicas.floor,
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": max(600, 2 * cold_start_s(plan)),
        "selector": {"matchLabels": selector(plan.name, COMPONENT)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling_update(plan)},
        "template": pod_template(
            plan,
            pools,
            image=image,
            bucket=bucket,
            region=region,
            service_account=service_account,
            extra_labels=extra_labels,
        ),
    }


def rolling_update(plan: ServingPlan) -> Document:
    """Return how a rollout proceeds whether or not a GPU is spare.

    Without a spare GPU a surge pod would stay Pending for ever: then one replica is replaced in place. With one,
    there is none left once the autoscaler is at the ceiling; Kubernetes rounds a percentage of the replicas down, so
    this one lets go of a replica at the ceiling and of none well below it.
    """
    if not plan.surge:
        return {"maxSurge": 0, "maxUnavailable": 1}
    return {"maxSurge": plan.surge, "maxUnavailable": f"{math.ceil(100 / plan.replicas.ceiling)}%"}


def service(plan: ServingPlan) -> Document:
    """Return the Service's spec: inside the cluster only."""
    return {
        "type": "ClusterIP",
        "selector": selector(plan.name, COMPONENT),
        "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}],
    }


def disruption_budget(plan: ServingPlan) -> Document:
    """Return the PodDisruptionBudget's spec: one node at a time; a replica that never became ready may always go.

    A node leaves with every replica on it: with less than that many allowed, the first one evicted has nowhere to
    go, the second is never evicted, and the drain does not end.
    """
    return {
        "maxUnavailable": max(1, plan.replicas_per_instance),
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": selector(plan.name, COMPONENT)},
    }


def network_policy(
    plan: ServingPlan, *, gateway_namespace: str, monitoring_namespace: str, https_cidrs: Sequence[str]
) -> Document:
    """Return the NetworkPolicy's spec: in from the gateway and the scraper; out to names, S3 and pod identity."""
    return {
        "podSelector": {"matchLabels": selector(plan.name, COMPONENT)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [from_namespace(gateway_namespace, PROXY_LABELS)], "ports": tcp(PORT)},
            {"from": [from_namespace(monitoring_namespace, PROMETHEUS_LABELS)], "ports": tcp(PORT)},
        ],
        "egress": [dns_egress(), *aws_egress(https_cidrs)],
    }


def pod_monitor(plan: ServingPlan) -> Document:
    """Return the PodMonitor's spec; ``/metrics`` is not guarded by the engine's key."""
    return {
        "selector": {"matchLabels": selector(plan.name, COMPONENT)},
        "podMetricsEndpoints": [{"port": "http", "path": "/metrics", "interval": "15s", "scrapeTimeout": "10s"}],
    }


def scaling_queries(plan: ServingPlan, namespace: str) -> dict[str, str]:
    """Return the PromQL of each trigger; metric names are those of vLLM 0.32 (``v1/metrics/loggers.py``).

    A model that never scales to zero has no ``or vector(0)`` on its queue: no series means a dead target, the
    scaler must see the error and fall back. Time to first token is empty without traffic, hence its zero.
    ``traffic`` counts what the gateway tried to send, also while there is no replica to send it to, and on top what
    the replicas that stand by for a loss would take.
    """
    own = f'{{namespace="{namespace}",model_name="{plan.name}"}}'
    zero = " or vector(0)" if plan.scale_to_zero else ""
    cluster = f'{{envoy_cluster_name=~"httproute/{namespace}/{plan.name}/rule/.*"}}'
    window = f"[{plan.scaling.rate_window_s}s]"
    bucket_rate = f"sum by (le) (rate(vllm:time_to_first_token_seconds_bucket{own}{window}))"
    sent = f"(sum(rate(envoy_cluster_upstream_rq_total{cluster}{window})){zero})"
    failed = f"(sum(rate(envoy_cluster_upstream_cx_connect_fail{cluster}{window})) or vector(0))"
    spare = f" + {_spare(plan)}" if plan.scaling.spare_requests_per_s else ""
    return {
        "waiting": f"sum(vllm:num_requests_waiting{own}){zero}",
        "kv-cache": f"avg(vllm:kv_cache_usage_perc{own}){zero}",
        "ttft": f"(histogram_quantile({plan.scaling.ttft_quantile:g}, {bucket_rate}) > 0) or vector(0)",
        "traffic": f"{sent} + {failed}{spare}",
    }


def _spare(plan: ServingPlan) -> str:
    """Return what ``traffic`` counts where nothing arrives."""
    return f"{plan.scaling.spare_requests_per_s:g}"


def _trigger(name: str, query: str, threshold: float, metric_type: str, address: str, *, asleep: str = "0") -> Document:
    """Return one trigger; a model at zero is awake while its metric is above ``asleep``."""
    return {
        "type": "prometheus",
        "name": name,
        "metricType": metric_type,
        "metadata": {
            "serverAddress": address,
            "query": query,
            "threshold": f"{threshold:g}",
            "activationThreshold": asleep,
            # The default hides a dead target behind a zero.
            "ignoreNullValues": "false",
        },
    }


def _triggers(plan: ServingPlan, namespace: str, address: str) -> list[Document]:
    """Return the triggers; traffic and queue are averaged over replicas, levels and latencies are not (Value).

    Traffic decides: what arrives does not depend on how many replicas there are, so nothing swings. The others add
    replicas where requests are not those that were planned; in a model at zero, traffic also wakes the first one.
    """
    queries, scaling = scaling_queries(plan, namespace), plan.scaling
    return [
        _trigger("traffic", queries["traffic"], scaling.requests_per_s, "AverageValue", address, asleep=_spare(plan)),
        _trigger("waiting", queries["waiting"], scaling.waiting_requests, "AverageValue", address),
        _trigger("kv-cache", queries["kv-cache"], scaling.kv_cache_usage, "Value", address),
        _trigger("ttft", queries["ttft"], scaling.ttft_s, "Value", address),
    ]


def _pods(count: int, period_s: int) -> Document:
    return {"type": "Pods", "value": count, "periodSeconds": period_s}


def _behaviour(plan: ServingPlan) -> Document:
    scaling = plan.scaling
    return {
        "scaleUp": {
            "tolerance": f"{scaling.scale_up_tolerance:g}",
            "stabilizationWindowSeconds": scaling.scale_up_window_s,
            "policies": [_pods(scaling.scale_up_pods, scaling.scale_up_period_s)],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": scaling.scale_down_window_s,
            "policies": [_pods(scaling.scale_down_pods, scaling.scale_down_period_s)],
        },
    }


def scaled_object(plan: ServingPlan, namespace: str, prometheus_address: str) -> Document:
    """Return the KEDA ScaledObject's spec; its maximum is the ceiling that the bill was computed with."""
    floor = 0 if plan.scale_to_zero else max(1, plan.replicas.floor)
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
        "minReplicaCount": floor,
        "maxReplicaCount": plan.replicas.ceiling,
        "pollingInterval": plan.scaling.polling_s,
        "cooldownPeriod": plan.scaling.cooldown_s,
        "initialCooldownPeriod": cold_start_s(plan),
        "fallback": {
            "failureThreshold": 3,
            "replicas": min(max(1, plan.replicas.expected), plan.replicas.ceiling),
            "behavior": "currentReplicasIfHigher",
        },
        "advanced": {"horizontalPodAutoscalerConfig": {"name": plan.name, "behavior": _behaviour(plan)}},
        "triggers": _triggers(plan, namespace, prometheus_address),
    }
