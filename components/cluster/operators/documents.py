"""Values, namespaces and permissions of the operators. Everything runs on system nodes but what must see GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.common.tags import SYSTEM_NODE_SELECTOR
from components.common.well_known import GATEWAY_NAMESPACE, MONITORING_NAMESPACE
from sizing.errors import BadInput
from sizing.nodes.labels import GPU_RESOURCE, POOL_LABEL

PROMETHEUS_REQUESTS, ALERTMANAGER_REQUESTS, GRAFANA_REQUESTS = ("250m", "1Gi"), ("10m", "64Mi"), ("50m", "256Mi")
"""CPU and memory that are kept for them: the autoscaler reads Prometheus, so it must not be the first to be evicted."""
STORAGE_CLASS = "gp3-encrypted"
GRAFANA_SECRET = "grafana-admin"  # noqa: S105 - the name of the Secret
POD_SECURITY: Mapping[str, str] = {MONITORING_NAMESPACE: "privileged", "nvidia-device-plugin": "privileged"}
"""The node exporter and the GPU exporters mount the host; the rest lives with the baseline standard."""


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Where an operator runs and which other operators must be there first (for their CRDs)."""

    namespace: str
    after: tuple[str, ...] = ()


OPERATORS: Mapping[str, Operator] = {
    "aws-load-balancer-controller": Operator(namespace="kube-system"),
    "dcgm-exporter": Operator(namespace=MONITORING_NAMESPACE, after=("kube-prometheus-stack",)),
    "envoy-gateway": Operator(namespace=GATEWAY_NAMESPACE, after=("aws-load-balancer-controller",)),
    "external-secrets": Operator(namespace="external-secrets", after=("aws-load-balancer-controller",)),
    "keda": Operator(namespace="keda", after=("aws-load-balancer-controller",)),
    "kube-prometheus-stack": Operator(namespace=MONITORING_NAMESPACE, after=("external-secrets",)),
    "nvidia-device-plugin": Operator(namespace="nvidia-device-plugin", after=("aws-load-balancer-controller",)),
}
"""The load balancer controller comes first: its webhook answers for every Service, so others would fail without it."""


LOAD_BALANCERS = "aws-load-balancer-controller"
INSTALL_ORDER = (
    LOAD_BALANCERS,
    "external-secrets",
    "kube-prometheus-stack",
    "dcgm-exporter",
    "envoy-gateway",
    "keda",
    "nvidia-device-plugin",
)


def check_charts(charts: object) -> None:
    """Raise ``BadInput`` unless there is exactly one chart for each operator."""
    if not isinstance(charts, Mapping):
        raise BadInput("operators.charts", f"{charts!r} is not a mapping", way_out="map operator names to charts")
    unknown, missing = sorted(set(charts) - set(OPERATORS)), sorted(set(OPERATORS) - set(charts))
    if unknown:
        raise BadInput("operators.charts", f"{', '.join(unknown)} not known", way_out=f"one of {', '.join(OPERATORS)}")
    if missing:
        raise BadInput("operators.charts", f"{', '.join(missing)} missing", way_out="pin a chart for each operator")


def own_namespaces(operators: Sequence[str]) -> list[str]:
    """Return the namespaces that these operators need and Kubernetes does not bring."""
    return sorted({OPERATORS[operator].namespace for operator in operators} - {"kube-system"})


def storage_class() -> dict[str, object]:
    """Return the class of persistent volumes: encrypted gp3, bound where the pod runs, kept room to grow."""
    return {
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3", "encrypted": "true"},
        "volume_binding_mode": "WaitForFirstConsumer",
        "allow_volume_expansion": True,
        "reclaim_policy": "Delete",
    }


def secret_store(region: str) -> dict[str, object]:
    """Return the store that ExternalSecrets name; the operator reads with its own Pod Identity role."""
    return {"provider": {"aws": {"service": "SecretsManager", "region": region}}}


def values(
    *, cluster_name: object, region: str, vpc_id: object, registry_mirror: str | None = None
) -> dict[str, dict[str, object]]:
    """Return the chart values by operator; ``cluster_name`` and ``vpc_id`` may be outputs and are only placed.

    ``registry_mirror`` serves the images that charts take from Docker Hub, whose limit all nodes behind a NAT share.
    """
    return {
        "aws-load-balancer-controller": _load_balancer_values(cluster_name, region, vpc_id),
        "dcgm-exporter": _dcgm_values(),
        "envoy-gateway": _envoy_gateway_values(registry_mirror),
        "external-secrets": _external_secrets_values(),
        "keda": _keda_values(),
        "kube-prometheus-stack": _monitoring_values(registry_mirror),
        "nvidia-device-plugin": _device_plugin_values(),
    }


def _on_system_nodes() -> dict[str, object]:
    return {"nodeSelector": dict(SYSTEM_NODE_SELECTOR)}


def _on_gpu_nodes() -> dict[str, object]:
    term = {"matchExpressions": [{"key": POOL_LABEL, "operator": "Exists"}]}
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}},
        "tolerations": [{"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}],
    }


def _load_balancer_values(cluster_name: object, region: str, vpc_id: object) -> dict[str, object]:
    return {
        **_on_system_nodes(),
        "clusterName": cluster_name,
        "region": region,
        "vpcId": vpc_id,
        "replicaCount": 2,
        "serviceAccount": {"create": True, "name": "aws-load-balancer-controller"},
        # A private VPC has no endpoint for these, and an NLB uses none of them.
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
    }


def _envoy_gateway_values(registry_mirror: str | None) -> dict[str, object]:
    mirrored = {"global": {"imageRegistry": registry_mirror}} if registry_mirror else {}
    return {**mirrored, "deployment": {"replicas": 2, "pod": {"nodeSelector": dict(SYSTEM_NODE_SELECTOR)}}}


def _keda_values() -> dict[str, object]:
    return {**_on_system_nodes(), "operator": {"replicaCount": 2}, "metricsServer": {"replicaCount": 2}}


def _external_secrets_values() -> dict[str, object]:
    placed = _on_system_nodes()
    return {
        **placed,
        "webhook": placed,
        "certController": placed,
        "serviceAccount": {"create": True, "name": "external-secrets"},
    }


def _device_plugin_values() -> dict[str, object]:
    # The critical class lets the plugin start before the pods that wait for its resource. Node feature discovery only
    # feeds the feature discovery that is off: pools carry their labels themselves.
    off = {"enabled": False}
    return {**_on_gpu_nodes(), "priorityClassName": "system-node-critical", "gfd": off, "nfd": off}


def _dcgm_values() -> dict[str, object]:
    return {**_on_gpu_nodes(), "serviceMonitor": {"enabled": True, "interval": "15s"}}


def _requests(cpu: str, memory: str) -> dict[str, object]:
    return {"resources": {"requests": {"cpu": cpu, "memory": memory}}}


def _managed_by_eks() -> dict[str, object]:
    """Return what turns off scrapes and alerts of parts that EKS runs and shows nobody, which could never be silent."""
    off = {"enabled": False}
    rules = dict.fromkeys(
        ("etcd", "kubeControllerManager", "kubeProxy", "kubeSchedulerAlerting", "kubeSchedulerRecording"), False
    )
    parts = dict.fromkeys(("kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler"), off)
    return {**parts, "defaultRules": {"rules": rules}}


def _grafana_values(registry_mirror: str | None) -> dict[str, object]:
    mirrored = {"image": {"registry": registry_mirror}} if registry_mirror else {}
    # Without a Secret the chart sets a password that everybody knows.
    return {
        **_on_system_nodes(),
        **_requests(*GRAFANA_REQUESTS),
        **mirrored,
        "admin": {"existingSecret": GRAFANA_SECRET},
    }


def _monitoring_values(registry_mirror: str | None) -> dict[str, object]:
    volume = {
        "spec": {
            "storageClassName": STORAGE_CLASS,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "50Gi"}},
        }
    }
    return {
        "fullnameOverride": "monitoring",
        **_managed_by_eks(),
        "grafana": _grafana_values(registry_mirror),
        "alertmanager": {"alertmanagerSpec": {**_on_system_nodes(), **_requests(*ALERTMANAGER_REQUESTS)}},
        "prometheusOperator": _on_system_nodes(),
        "kube-state-metrics": _on_system_nodes(),
        "prometheus": {
            "prometheusSpec": {
                **_on_system_nodes(),
                **_requests(*PROMETHEUS_REQUESTS),
                "retention": "15d",
                "retentionSize": "45GB",
                "podMonitorSelectorNilUsesHelmValues": False,
                "ruleSelectorNilUsesHelmValues": False,
                "serviceMonitorSelectorNilUsesHelmValues": False,
                "storageSpec": {"volumeClaimTemplate": volume},
            }
        },
    }
