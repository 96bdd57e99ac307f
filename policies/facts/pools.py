"""Node pools in the resources: managed node groups and Karpenter NodePools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.facts.workloads import GPU_RESOURCE, POOL_LABEL
from policies.graph import Resource, entries, look, of_kind, of_type

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
INSTANCE_TYPE_KEY = "node.kubernetes.io/instance-type"
GPU_NAME_KEY = "karpenter.k8s.aws/instance-gpu-name"
EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
"""EKS writes taint effects in capitals, Kubernetes does not."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One pool: which instance types it may buy and how many.

    ``nodes`` is the maximum size of a managed group (None for Karpenter), ``gpu_limit`` the GPU limit of a NodePool
    (None for managed groups and for a NodePool without a limit). ``update_nodes``: extra nodes that EKS starts while it
    updates the group.
    """

    name: str
    resource: Resource
    instance_types: tuple[str, ...]
    nodes: int | None
    gpu_limit: int | None
    taints: tuple[Mapping[str, Any], ...]
    gpu_names: tuple[str, ...]
    update_nodes: int = 0


def pools(resources: Sequence[Resource]) -> list[Pool]:
    """Every pool of the stack, GPU or not, in the order of the resources."""
    managed = [_managed(one) for one in of_type(resources, NODE_GROUP)]
    return managed + [_karpenter(one) for one in of_kind(resources, "NodePool")]


def is_gpu_pool(pool: Pool) -> bool:
    """Whether taint, label or limit mark the pool as a GPU pool."""
    tainted = any(taint["key"] == GPU_RESOURCE for taint in pool.taints)
    return tainted or pool.gpu_limit is not None or bool(pool.gpu_names)


def _managed(resource: Resource) -> Pool:
    labels = look(resource.props, "labels") or {}
    return Pool(
        name=str(look(labels, POOL_LABEL) or look(resource.props, "nodeGroupName") or resource.name),
        resource=resource,
        instance_types=tuple(str(one) for one in entries(resource.props, "instanceTypes")),
        nodes=int(look(resource.props, "scalingConfig", "maxSize") or 0),
        gpu_limit=None,
        taints=tuple(_taint(one) for one in entries(resource.props, "taints")),
        gpu_names=_named(look(labels, GPU_NAME_KEY)),
        update_nodes=_update_nodes(resource),
    )


def _update_nodes(resource: Resource) -> int:
    """Twice the zones, unless the group ends a node before it starts its successor (EKS guide, "Scale up phase")."""
    if look(resource.props, "updateConfig", "updateStrategy") == "MINIMAL":
        return 0
    unavailable = int(look(resource.props, "updateConfig", "maxUnavailable") or 1)
    return max(2 * len(look(resource.props, "subnetIds") or ()), unavailable)


def _karpenter(resource: Resource) -> Pool:
    template = look(resource.props, "spec", "template")
    requirements = {look(one, "key"): one for one in entries(template, "spec", "requirements")}
    limit = look(resource.props, "spec", "limits", GPU_RESOURCE)
    label = look(template, "metadata", "labels", POOL_LABEL)
    gpu_names = entries(requirements.get(GPU_NAME_KEY), "values")
    return Pool(
        name=str(label or resource.object_name),
        resource=resource,
        instance_types=_types(requirements.get(INSTANCE_TYPE_KEY)),
        nodes=None,
        gpu_limit=None if limit is None else int(limit),
        taints=tuple(_taint(one) for one in entries(template, "spec", "taints")),
        gpu_names=tuple(str(one) for one in gpu_names) or _named(look(template, "metadata", "labels", GPU_NAME_KEY)),
    )


def _types(requirement: object) -> tuple[str, ...]:
    """Instance types of an ``In`` requirement; any other operator leaves the choice open, hence ()."""
    if look(requirement, "operator") != "In":
        return ()
    return tuple(str(one) for one in entries(requirement, "values"))


def _named(value: object) -> tuple[str, ...]:
    return (str(value),) if value else ()


def _taint(taint: object) -> Mapping[str, Any]:
    effect = look(taint, "effect")
    return {
        "key": look(taint, "key"),
        "value": look(taint, "value"),
        "effect": EFFECTS.get(effect, effect),
    }
