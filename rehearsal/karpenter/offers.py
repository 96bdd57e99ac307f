"""What Karpenter may buy: the GPU machines of the catalogue as its kwok provider reads them.

An offering is a zone, by name and by id as AWS labels both, and a capacity type, at the price that the plan reads.
The AWS provider puts the GPU's name on a machine, the kwok provider knows no such label; a requirement of an offering
becomes a label of the node, so it stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rehearsal.simulated.nodes import CAPACITY_TYPE, allocatable_disk_gib, zone_labels
from sizing.catalogue import Catalogue, Instance
from sizing.nodes.labels import GPU_RESOURCE
from sizing.plan import CapacityType, StackPlan

GPU_NAME = "karpenter.k8s.aws/instance-gpu-name"
RESERVED_CPU, RESERVED_MIB = 0.1, 10
"""What the kwok provider takes off every machine (``kwok/cloudprovider/helpers.go`` of Karpenter 1.14): added before,
so that the allocatable resources of the catalogue are left."""
UNPLANNED_DISK_GIB = 500.0
"""Root volume of a machine that no plan names: nothing of it is compared."""
CAPACITY_TYPES: tuple[CapacityType, ...] = ("spot", "on-demand")
Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CloudMarket:
    """What can be bought where; ``closed_zones`` sell nothing, ``spot_closed`` leaves on demand only.

    ``disks_gib``: root volume by instance type, where a plan has one; the kwok provider knows no disk of a node class.
    """

    catalogue: Catalogue
    region: str
    closed_zones: frozenset[str] = frozenset()
    spot_closed: bool = False
    disks_gib: Mapping[str, float] = field(default_factory=dict)

    def without_spot(self) -> CloudMarket:
        """Return the market without spot capacity."""
        return replace(self, spot_closed=True)

    def without_zone(self, zone: str) -> CloudMarket:
        """Return the market without one zone, named by its id."""
        return replace(self, closed_zones=self.closed_zones | {zone})

    def sells(self, instance: Instance, zone: str, capacity_type: CapacityType) -> bool:
        """Whether a machine of this type can be bought in this zone (id) now."""
        closed = zone in self.closed_zones or (self.spot_closed and capacity_type == "spot")
        return not closed and zone in instance.offer(self.region).zone_ids


def disks_of(plan: StackPlan | None) -> dict[str, float]:
    """Return the root volume in GiB by instance type; the largest where pools of one type differ."""
    disks: dict[str, float] = {}
    for pool in plan.pools if plan else ():
        for offer in pool.offers:
            disks[offer.instance_type] = max(disks.get(offer.instance_type, 0), pool.disk.size_gib)
    return disks


def instance_types(market: CloudMarket) -> list[Document]:
    """Return every GPU machine that is sold in the region now, as the kwok provider reads it."""
    sold = [one for one in market.catalogue.all_instances if one.gpus and market.region in one.on_demand_usd_per_hour]
    found = [_instance_type(instance, market) for instance in sorted(sold, key=lambda one: one.instance_type)]
    return [one for one in found if one["offerings"]]


def _instance_type(instance: Instance, market: CloudMarket) -> Document:
    disk = market.disks_gib.get(instance.instance_type, UNPLANNED_DISK_GIB)
    return {
        "name": instance.instance_type,
        "architecture": "amd64",
        "operatingSystems": ["linux"],
        "resources": {
            "cpu": f"{round((instance.allocatable_cpu + RESERVED_CPU) * 1000)}m",
            "memory": f"{round(instance.allocatable_memory_gib * 1024) + RESERVED_MIB}Mi",
            "ephemeral-storage": f"{round(allocatable_disk_gib(disk) * 1024)}Mi",
            "pods": str(instance.allocatable_pods),
            GPU_RESOURCE: str(instance.gpus),
        },
        "offerings": [
            _offering(instance, market, zone, capacity_type)
            for zone in instance.offer(market.region).zone_ids
            for capacity_type in CAPACITY_TYPES
            if market.sells(instance, zone, capacity_type)
        ],
    }


def _offering(instance: Instance, market: CloudMarket, zone: str, capacity_type: CapacityType) -> Document:
    labels = {**zone_labels(zone), CAPACITY_TYPE: capacity_type}
    if name := market.catalogue.gpu(instance.gpu).karpenter_name:
        labels[GPU_NAME] = name
    return {
        "Price": instance.offer(market.region).usd_per_hour(capacity_type),
        "Available": True,
        "Requirements": [{"key": key, "operator": "In", "values": [value]} for key, value in sorted(labels.items())],
    }
