"""GPU pools as they were applied: the NodePool objects of the API server and the node groups of the recorded cloud.

Nothing here reads the plan. What the plan says is compared with this afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rehearsal.simulated.nodes import NodeSpec, Taint, allocatable_disk_gib
from rehearsal.simulated.pods import Document, Room, admits, asked
from sizing.catalogue import Catalogue, Instance
from sizing.nodes.labels import GPU_RESOURCE, POOL_LABEL, ZONE_ID_LABEL
from sizing.plan import CapacityType

EFFECTS = {"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}
DEFAULT_DISK_GIB = 20
"""Root volume that EKS and Karpenter's AL2023 family give when nobody states one."""


@dataclass(frozen=True, kw_only=True)
class KarpenterPool:
    """One NodePool: what it may buy, in which zones, up to how many GPUs."""

    name: str
    weight: int
    instance_types: tuple[str, ...]
    zones: tuple[str, ...]
    capacity_types: tuple[CapacityType, ...]
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    gpu_limit: int | None
    disk_gib: float


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """One node to buy, and its price in USD per hour."""

    node: NodeSpec
    pool: str
    usd_per_hour: float


def karpenter_pools(node_pools: Sequence[Document], node_classes: Sequence[Document]) -> tuple[KarpenterPool, ...]:
    """Read the NodePools of the cluster, in the order in which Karpenter tries them: heaviest first, then by name."""
    disks = {one["metadata"]["name"]: _class_disk_gib(one) for one in node_classes}
    found = [_karpenter_pool(one, disks) for one in node_pools]
    return tuple(sorted(found, key=lambda pool: (-pool.weight, pool.name)))


def _karpenter_pool(document: Document, disks: Mapping[str, float]) -> KarpenterPool:
    spec = document["spec"]
    template = spec["template"]
    values = {one["key"]: tuple(one.get("values") or ()) for one in template["spec"].get("requirements") or []}
    limit = (spec.get("limits") or {}).get(GPU_RESOURCE)
    single = {key: chosen[0] for key, chosen in values.items() if len(chosen) == 1}
    name = document["metadata"]["name"]
    return KarpenterPool(
        name=name,
        weight=int(spec.get("weight") or 0),
        instance_types=values.get("node.kubernetes.io/instance-type", ()),
        zones=values.get(ZONE_ID_LABEL, ()),
        capacity_types=values.get("karpenter.sh/capacity-type", ("on-demand",)),
        labels={**single, **((template.get("metadata") or {}).get("labels") or {}), "karpenter.sh/nodepool": name},
        taints=tuple(
            Taint(key=one["key"], value=one.get("value") or "", effect=one["effect"])
            for one in template["spec"].get("taints") or []
        ),
        gpu_limit=None if limit is None else int(limit),
        disk_gib=disks.get(template["spec"]["nodeClassRef"]["name"], DEFAULT_DISK_GIB),
    )


def _class_disk_gib(document: Document) -> float:
    mappings = (document.get("spec") or {}).get("blockDeviceMappings") or []
    sizes = [str((one.get("ebs") or {}).get("volumeSize") or "0").removesuffix("Gi") for one in mappings]
    return max((float(size) for size in sizes), default=DEFAULT_DISK_GIB)


def taint_documents(taints: Sequence[Taint]) -> list[Document]:
    """Return taints as the API server has them."""
    return [{"key": one.key, "value": one.value, "effect": one.effect} for one in taints]


def room_of_instance(instance: Instance, disk_gib: float) -> Room:
    """Return what pods may use of a machine."""
    return Room(
        cpu=instance.allocatable_cpu,
        memory_gib=instance.allocatable_memory_gib,
        ephemeral_gib=allocatable_disk_gib(disk_gib),
        gpus=instance.gpus,
    )


@dataclass(frozen=True, kw_only=True)
class CloudMarket:
    """What can be bought where; ``closed_zones`` sell nothing, ``spot_closed`` leaves on demand only."""

    catalogue: Catalogue
    region: str
    closed_zones: frozenset[str] = frozenset()
    spot_closed: bool = False


def choose(
    pod: Document, pools: Sequence[KarpenterPool], used_gpus: Mapping[str, int], nodes_per_zone: Mapping[str, int], *,
    market: CloudMarket, number: int,
) -> Purchase | str:  # fmt: skip
    """Choose the node that Karpenter would buy for a pod: heaviest pool with room, there the cheapest type that fits.

    Zones are taken in turn, because the pods of a model spread over them. Returns the reason when nothing can be
    bought, pool by pool.
    """
    reasons: list[str] = []
    for pool in pools:
        if not admits({**pool.labels}, taint_documents(pool.taints), pod):
            continue
        offers, reason = _offers(pod, pool, used_gpus.get(pool.name, 0), market)
        if not offers:
            reasons.append(f"pool {pool.name}: {reason}")
            continue
        cost, instance, zone, capacity_type = min(
            offers, key=lambda one: (_cheapest(one[1], offers), nodes_per_zone.get(one[2], 0), one[0], one[2])
        )
        return Purchase(node=_node(pool, instance, zone, capacity_type, number), pool=pool.name, usd_per_hour=cost)
    return "; ".join(reasons) or "no pool admits it"


Offer = tuple[float, Instance, str, str]


def _cheapest(instance: Instance, offers: Sequence[Offer]) -> tuple[float, str]:
    return min(cost for cost, other, _, _ in offers if other is instance), instance.instance_type


def _offers(pod: Document, pool: KarpenterPool, used: int, market: CloudMarket) -> tuple[list[Offer], str]:
    """Return (price, machine, zone, capacity type) of all that the pool may still buy for the pod, or why nothing."""
    wanted = asked(pod)
    offers: list[Offer] = []
    reason = "names no instance type"
    for instance in map(market.catalogue.instance, pool.instance_types):
        lacking = room_of_instance(instance, pool.disk_gib).lacks(wanted)
        if lacking:
            reason = f"{instance.instance_type} is too small: asks for {lacking}"
        elif pool.gpu_limit is not None and used + instance.gpus > pool.gpu_limit:
            reason = f"GPU limit {pool.gpu_limit}, {used} in use, {instance.gpus} more needed"
        else:
            found = sold(instance, pool, market)
            offers += found
            reason = (
                reason
                if found
                else f"{instance.instance_type} is not sold now in {', '.join(pool.zones) or 'any zone'}"
            )
    return offers, reason


def sold(instance: Instance, pool: KarpenterPool, market: CloudMarket) -> list[Offer]:
    """Return what is sold now, at the price of the catalogue's offer, which is the same in every zone."""
    offer = instance.offer(market.region)
    zones = [zone for zone in pool.zones or offer.zone_ids if zone in offer.zone_ids]
    return [
        (offer.usd_per_hour(capacity_type), instance, zone, capacity_type)
        for zone in zones
        for capacity_type in pool.capacity_types
        if zone not in market.closed_zones and not (market.spot_closed and capacity_type == "spot")
    ]


def _node(pool: KarpenterPool, instance: Instance, zone: str, capacity_type: str, number: int) -> NodeSpec:
    room = room_of_instance(instance, pool.disk_gib)
    return NodeSpec(
        name=f"{pool.name}-{number}",
        instance_type=instance.instance_type,
        zone=zone,
        capacity_type="spot" if capacity_type == "spot" else "on-demand",
        cpu=room.cpu,
        memory_gib=room.memory_gib,
        ephemeral_gib=room.ephemeral_gib,
        gpus=room.gpus,
        pods=instance.allocatable_pods,
        pool=pool.labels.get(POOL_LABEL, pool.name),
        labels=pool.labels,
        taints=pool.taints,
    )


def group_nodes(
    name: str, inputs: Mapping[str, Any], *, zones: Sequence[str], disk_gib: float, catalogue: Catalogue
) -> tuple[NodeSpec, ...]:
    """Return the nodes of an EKS node group as it was recorded: desired size, first instance type, over its zones."""
    scaling = inputs.get("scalingConfig") or {}
    instance = catalogue.instance(str((inputs.get("instanceTypes") or [""])[0]))
    room = room_of_instance(instance, disk_gib)
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
            cpu=room.cpu,
            memory_gib=room.memory_gib,
            ephemeral_gib=room.ephemeral_gib,
            gpus=room.gpus,
            pods=instance.allocatable_pods,
            pool=labels.get(POOL_LABEL, group),
            labels={**labels, "eks.amazonaws.com/nodegroup": group},
            taints=taints,
        )
        for number in range(int(scaling.get("desiredSize") or scaling.get("minSize") or 0))
    )
