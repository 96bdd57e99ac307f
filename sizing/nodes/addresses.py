"""Addresses of the subnets against the nodes at the ceiling: with prefixes a node takes blocks, not single addresses.

    node      = own address + prefix x (ceil(pods / prefix) + spare prefixes)
    subnet    = its size - reserved - kept for the control plane and load balancers
    per zone  = system nodes there + ceil(nodes of a pool at the ceiling / zones of the pool), over the pools

The block ``addresses`` of ``catalogue/serving.json`` has the figures. A node that gets no block stays without pods.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping, Sequence

from sizing.catalogue.files import serving_facts
from sizing.errors import BadInput
from sizing.nodes.system_nodes import SystemNodes
from sizing.plan import NodePoolPlan


def node_addresses(pods: int) -> int:
    """Return the addresses that a node with room for ``pods`` takes."""
    facts = serving_facts("addresses")
    blocks = math.ceil(pods / facts["prefix"]) + facts["spare_prefixes"]
    return int(facts["own"] + facts["prefix"] * blocks)


def usable_addresses(cidr: str) -> int:
    """Return the addresses of a subnet that nodes may take."""
    facts = serving_facts("addresses")
    return int(ipaddress.IPv4Network(cidr).num_addresses - facts["reserved"] - facts["kept"])


def check_addresses(subnets: Mapping[str, str], nodes: SystemNodes, pools: Sequence[NodePoolPlan]) -> None:
    """Refuse a fleet that its subnets cannot hold at the ceiling; ``subnets`` maps zone ids to networks."""
    gpu_node = node_addresses(serving_facts("addresses")["gpu_node_pods"])
    system_node = node_addresses(nodes.instance.allocatable_pods)
    for zone, cidr in sorted(subnets.items()):
        gpu_nodes = sum(math.ceil(one.ceiling_instances / len(one.zones)) for one in pools if zone in one.zones)
        needed = gpu_nodes * gpu_node + nodes.by_zone.get(zone, 0) * system_node
        if needed > usable_addresses(cidr):
            raise BadInput(
                f"subnet of {zone}",
                f"{gpu_nodes} GPU nodes at the ceiling and {nodes.by_zone.get(zone, 0)} system nodes take {needed} "
                f"addresses, {gpu_node} and {system_node} each",
                limit=f"{usable_addresses(cidr)} of {cidr}",
                way_out="a cluster stack with a wider tonnage:cidr, more zones in tonnage:capacity, or a lower ceiling",
            )
