"""Nodes of the managed node groups that were recorded: what EKS makes of them. Nothing here reads the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rehearsal.simulated.nodes import NodeSpec, Taint, allocatable_disk_gib
from sizing.catalogue import Catalogue
from sizing.nodes.labels import POOL_LABEL

EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
DEFAULT_DISK_GIB = 20
"""Root volume that EKS gives when nobody states one."""


def group_nodes(
    name: str, inputs: Mapping[str, Any], *, zones: Sequence[str], disk_gib: float, catalogue: Catalogue
) -> tuple[NodeSpec, ...]:
    """Return the nodes of an EKS node group as it was recorded: desired size, first instance type, over its zones."""
    scaling = inputs.get("scalingConfig") or {}
    instance = catalogue.instance(str((inputs.get("instanceTypes") or [""])[0]))
    labels = dict(inputs.get("labels") or {})
    group = str(inputs.get("nodeGroupName") or name)
    taints = tuple(
        Taint(key=one["key"], value=one.get("value") or "", effect=EFFECTS[one["effect"]])
        for one in inputs.get("taints") or []
    )
    return tuple(
        NodeSpec(
            name=f"{group}-{number}",
            instance_type=instance.instance_type,
            zone=zones[number % len(zones)],
            capacity_type="spot" if inputs.get("capacityType") == "SPOT" else "on-demand",
            cpu=instance.allocatable_cpu,
            memory_gib=instance.allocatable_memory_gib,
            ephemeral_gib=allocatable_disk_gib(disk_gib),
            gpus=instance.gpus,
            pods=instance.allocatable_pods,
            pool=labels.get(POOL_LABEL, group),
            labels={**labels, "eks.amazonaws.com/nodegroup": group},
            taints=taints,
        )
        for number in range(int(scaling.get("desiredSize") or scaling.get("minSize") or 0))
    )
