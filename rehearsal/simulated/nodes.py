"""Simulated nodes: what the scheduler sees of an instance. kwok keeps them Ready."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

from rehearsal.control_plane.api import reason, request
from rehearsal.errors import RehearsalFailed
from sizing.catalogue import Catalogue
from sizing.nodes.labels import GPU_RESOURCE, ZONE_ID_LABEL, ZONE_LABEL

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
CAPACITY_TYPE = "karpenter.sh/capacity-type"
EKS_CAPACITY_TYPE = "eks.amazonaws.com/capacityType"
_NODES = "/api/v1/nodes"
SYSTEM_DISK_GIB = 80
"""Root volume of a system node; EKS gives 20 when nobody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Taint:
    """A node taint."""

    key: str
    value: str
    effect: str = "NoSchedule"


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node: its allocatable resources, labels and taints. Memory and disk in GiB."""

    name: str
    instance_type: str
    zone: str
    """Zone id; the name that its label carries is ``zone_name`` of it."""
    capacity_type: Literal["on-demand", "spot"]
    cpu: float
    memory_gib: float
    ephemeral_gib: float
    gpus: int = 0
    pods: int = 110
    pool: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


def zone_name(zone_id: str) -> str:
    """Return the name of a zone: never its id, as in every account, so that nothing may take one for the other."""
    prefix, _, number = zone_id.rpartition("-az")
    return f"{prefix}-zone-{'fedcba'[int(number) - 1]}" if number.isdigit() else f"{zone_id}-name"


def node_document(node: NodeSpec) -> dict[str, Any]:
    """Return the Node object: capacity equals allocatable, what AWS would label is labelled."""
    resources = {
        "cpu": f"{round(node.cpu * 1000)}m",
        "memory": f"{round(node.memory_gib * 1024)}Mi",
        "ephemeral-storage": f"{round(node.ephemeral_gib * 1024)}Mi",
        "pods": str(node.pods),
    }
    if node.gpus:
        resources[GPU_RESOURCE] = str(node.gpus)
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": node.name,
        INSTANCE_TYPE: node.instance_type,
        ZONE_LABEL: zone_name(node.zone),
        ZONE_ID_LABEL: node.zone,
        CAPACITY_TYPE: node.capacity_type,
        EKS_CAPACITY_TYPE: node.capacity_type.replace("-", "_").upper(),
        **({"nvidia.com/gpu.present": "true"} if node.gpus else {}),
        **node.labels,
    }
    taints = [{"key": taint.key, "value": taint.value, "effect": taint.effect} for taint in node.taints]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"taints": taints, "providerID": f"aws:///{node.zone}/{node.name}"},
        "status": {"allocatable": resources, "capacity": resources},
    }


def make_nodes(api: ApiClient, nodes: Sequence[NodeSpec], *, timeout_s: float = 60) -> None:
    """Create the nodes and wait until each is Ready and schedulable.

    Raises ``RehearsalFailed`` when one is refused or is not Ready within ``timeout_s``.
    """

    def create(node: NodeSpec) -> None:
        try:
            request(api, "POST", _NODES, body=node_document(node))
        except ApiException as error:
            raise RehearsalFailed(f"node {node.name}", f"refused by the API server: {reason(error)}") from error

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(create, nodes))
    waiting = {node.name for node in nodes}
    deadline = time.monotonic() + timeout_s
    while waiting:
        waiting -= {node["metadata"]["name"] for node in request(api, "GET", _NODES)["items"] if _schedulable(node)}
        if waiting and time.monotonic() > deadline:
            raise RehearsalFailed(
                f"node {min(waiting)}", f"not Ready ({len(waiting)} of {len(nodes)})", limit=f"{timeout_s:.0f} s"
            )
        time.sleep(0.1 if waiting else 0)


def remove_nodes(api: ApiClient, names: Sequence[str]) -> None:
    """Take instances away as AWS does after the notice: the nodes vanish, then their pods, without grace."""
    for name in names:
        _delete(api, f"{_NODES}/{name}")
    gone = set(names)
    for pod in request(api, "GET", "/api/v1/pods")["items"]:
        if pod["spec"].get("nodeName") in gone:
            _delete(api, f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}")


def system_nodes(
    catalogue: Catalogue,
    *,
    instance_type: str,
    zones: Sequence[str],
    count: int,
    labels: Mapping[str, str] | None = None,
) -> tuple[NodeSpec, ...]:
    """Return the nodes of the system node group: on demand, no GPU, no taint."""
    instance = catalogue.instance(instance_type)
    return tuple(
        NodeSpec(
            name=f"system-{number}",
            instance_type=instance_type,
            zone=zones[number % len(zones)],
            capacity_type="on-demand",
            cpu=instance.allocatable_cpu,
            memory_gib=instance.allocatable_memory_gib,
            ephemeral_gib=allocatable_disk_gib(SYSTEM_DISK_GIB),
            pods=instance.allocatable_pods,
            pool="system",
            labels=labels or {},
        )
        for number in range(count)
    )


def allocatable_disk_gib(size_gib: float) -> float:
    """Return what pods may use of a root volume: EKS nodes reserve 1 GiB and evict at 10 % free."""
    return 0.9 * size_gib - 1


def _schedulable(node: Mapping[str, Any]) -> bool:
    """Whether the node is Ready and the controller manager has taken its first taints away."""
    conditions = node["status"].get("conditions") or ()
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
    return ready and not any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", ()))


def _delete(api: ApiClient, path: str) -> None:
    """Delete at once; what is not there any more is fine."""
    try:
        request(api, "DELETE", path, query={"gracePeriodSeconds": "0"})
    except ApiException as error:
        if error.status != 404:
            raise
