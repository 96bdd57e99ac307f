"""Workloads of a stack: pods, their GPUs, and the maximum number of pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.graph import Resource, entries, look, of_kind
from sizing.nodes.labels import GPU_RESOURCE, POOL_LABEL

TEMPLATES = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where each kind keeps its pod template."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A resource that makes pods; ``pod`` is its pod template (labels in ``metadata``, the rest in ``spec``)."""

    resource: Resource
    pod: Mapping[str, Any]

    @property
    def containers(self) -> list[Mapping[str, Any]]:
        """Init containers and containers."""
        return [*entries(self.pod, "spec", "initContainers"), *entries(self.pod, "spec", "containers")]

    @property
    def gpus(self) -> int:
        """GPUs that one pod asks for."""
        asked = (look(one, "resources", "limits", GPU_RESOURCE) for one in entries(self.pod, "spec", "containers"))
        return sum(int(count or 0) for count in asked)

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of its pods."""
        return look(self.pod, "metadata", "labels") or {}

    @property
    def pools(self) -> tuple[str, ...]:
        """Pools that its node selector or required node affinity allows; () when it states none."""
        selected = look(self.pod, "spec", "nodeSelector", POOL_LABEL)
        names = {str(selected)} if selected else set()
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        for term in entries(self.pod, "spec", "affinity", "nodeAffinity", required, "nodeSelectorTerms"):
            for expression in entries(term, "matchExpressions"):
                if look(expression, "key") == POOL_LABEL and look(expression, "operator") == "In":
                    names.update(str(value) for value in entries(expression, "values"))
        return tuple(sorted(names))

    def tolerates(self, taint: Mapping[str, Any]) -> bool:
        """Tell whether its pods may run on a node with this taint (Kubernetes' rule for tolerations)."""
        for toleration in entries(self.pod, "spec", "tolerations"):
            key, effect = look(toleration, "key"), look(toleration, "effect")
            same_value = look(toleration, "operator") == "Exists" or look(toleration, "value") == taint["value"]
            if key in {None, taint["key"]} and same_value and effect in {None, "", taint["effect"]}:
                return True
        return False


def workloads(resources: Sequence[Resource]) -> list[Workload]:
    """Every workload of the stack."""
    return [
        Workload(resource=one, pod=look(one.props, *TEMPLATES[one.kind]) or {} if TEMPLATES[one.kind] else one.props)
        for one in of_kind(resources, *TEMPLATES)
    ]


def most_pods(workload: Workload, resources: Sequence[Resource]) -> int:
    """Maximum pods of the workload: its autoscaler's maximum, otherwise ``replicas`` or the like."""
    ceiling = scaler_maximum(workload, resources)
    if ceiling is not None:
        return ceiling
    own = look(workload.resource.props, "spec", "replicas")
    if own is None:
        own = look(workload.resource.props, "spec", "parallelism")
    return 1 if own is None else int(own)


def scaler_maximum(workload: Workload, resources: Sequence[Resource]) -> int | None:
    """``maxReplicaCount`` of the KEDA ScaledObject (or ``maxReplicas`` of an HPA) that targets the workload."""
    target = workload.resource
    for scaler in of_kind(resources, "ScaledObject", "HorizontalPodAutoscaler"):
        reference = look(scaler.props, "spec", "scaleTargetRef") or {}
        kind = look(reference, "kind") or "Deployment"
        if (kind, look(reference, "name"), scaler.namespace) != (target.kind, target.object_name, target.namespace):
            continue
        # 100 is KEDA's own default for a ScaledObject that states no maximum
        return int(look(scaler.props, "spec", "maxReplicaCount") or look(scaler.props, "spec", "maxReplicas") or 100)
    return None
