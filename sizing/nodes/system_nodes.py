"""Nodes without GPU: how many in which zone, and whether operators, gateway and vector store fit on them.

Volumes are zonal. A node group that spans more zones than it has nodes may replace a lost node in a zone where a
volume is not, and its pod waits for ever; so each zone has a group of its own, and zones without a node have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizing.catalogue import Instance
from sizing.catalogue.files import serving_facts
from sizing.errors import BadInput
from sizing.plan import VectorStorePlan


@dataclass(frozen=True, kw_only=True)
class SystemNodes:
    """The system nodes of a cluster: one instance type, nodes by zone id."""

    instance: Instance
    by_zone: Mapping[str, int]

    @property
    def count(self) -> int:
        """Nodes in all zones."""
        return sum(self.by_zone.values())

    @property
    def room(self) -> tuple[float, float]:
        """CPU and GiB of one node beside the pods that every node has."""
        facts, one = serving_facts("operators"), self.instance
        return one.allocatable_cpu - facts["node_cpu"], one.allocatable_memory_gib - facts["node_memory_gib"]

    def __str__(self) -> str:
        return f"{self.count} x {self.instance.instance_type}"


def nodes_by_zone(zones: Sequence[str], count: int) -> dict[str, int]:
    """Return the nodes of each zone's group, as even as it gets; zones that would have none are left out."""
    each, more = divmod(count, len(zones))
    shares = ((zone, each + (place < more)) for place, zone in enumerate(zones))
    return {zone: share for zone, share in shares if share}


def check_instance(instance: Instance, region: str, zones: Sequence[str], where: str) -> None:
    """Refuse a type with GPUs, which would wait and be paid, and one that a zone of the network does not sell."""
    if instance.gpus:
        raise BadInput(
            where,
            f"{instance.instance_type} has {instance.gpus} GPU, which no operator uses",
            limit="a type without GPU",
            way_out="for example m7i.large; GPU nodes come with the models of a serving stack",
        )
    missing = sorted(set(zones) - set(instance.zone_ids.get(region, ())))
    if missing:
        raise BadInput(
            where,
            f"{instance.instance_type} is not sold in {', '.join(missing)}",
            limit=f"zones that sell it: {', '.join(instance.zone_ids.get(region, ())) or 'none'}",
            way_out="another type, or other zones in tonnage:zoneIds",
        )


def check_fit(nodes: SystemNodes, store: VectorStorePlan | None, proxies: int) -> None:
    """Refuse a vector store or a gateway that the system nodes cannot hold: its pods would stay Pending.

    Each replica of the store has a node of its own; operators and proxies share what is left of all nodes.
    """
    if store is not None:
        _check_replica(nodes, store)
    _check_total(nodes, store, proxies)


def _check_replica(nodes: SystemNodes, store: VectorStorePlan) -> None:
    cpu, memory = nodes.room
    if store.replicas > nodes.count:
        raise BadInput(
            "tonnage:vectorStore.replicas",
            f"{store.replicas}, each on a node of its own, but the cluster has {nodes}",
            limit=f"{nodes.count} system nodes",
            way_out=f"tonnage:systemNodes.count {store.replicas} in the cluster stack, or fewer replicas",
        )
    for value, limit, unit in ((store.memory_gib, memory, "GiB"), (store.cpu, cpu, "CPU")):
        if value > limit:
            raise BadInput(
                "tonnage:vectorStore",
                f"a replica needs {value:g} {unit}, and no node of {nodes} has it",
                limit=f"{limit:.2f} {unit} beside the pods of every node",
                way_out="a larger tonnage:systemNodes.instanceType in the cluster stack, more replicas or onDisk: true",
            )
    largest = serving_facts("volumes")["largest_gib"]
    if store.disk_gib > largest:
        raise BadInput(
            "tonnage:vectorStore",
            f"a replica needs a volume of {store.disk_gib} GiB",
            limit=f"{largest} GiB, the largest gp3 volume",
            way_out="more replicas, each with a smaller share",
        )


def _check_total(nodes: SystemNodes, store: VectorStorePlan | None, proxies: int) -> None:
    facts, (cpu, memory) = serving_facts("operators"), nodes.room
    replicas, store_cpu, store_gib = (store.replicas, store.cpu, store.memory_gib) if store else (0, 0.0, 0.0)
    asked_cpu = facts["cpu"] + proxies * facts["proxy_cpu"] + replicas * store_cpu
    asked_gib = facts["memory_gib"] + proxies * facts["proxy_memory_gib"] + replicas * store_gib
    what = f"operators, {proxies} proxies and {replicas} replicas of the vector store"
    for value, limit, unit in ((asked_gib, nodes.count * memory, "GiB"), (asked_cpu, nodes.count * cpu, "CPU")):
        if value > limit:
            raise BadInput(
                "tonnage:systemNodes",
                f"{what} need {value:.2f} {unit} of {nodes}",
                limit=f"{limit:.2f} {unit} beside the pods of every node",
                way_out="more nodes or a larger instanceType in the cluster stack, or fewer replicas",
            )
