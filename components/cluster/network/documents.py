"""Address plan of the VPC.

The VPC is cut into eight equal blocks. Block n is the private subnet of the zone whose id ends in ``az<n+1>``; the
last block is cut into eight again for the public subnets. A zone therefore keeps its addresses whatever other zones
are added or removed, which matters because a subnet cannot be renumbered.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.common.tags import DISCOVERY_TAG, named
from sizing.errors import BadInput

ZONE_ID = re.compile(r"^[a-z]{2,4}\d-az(\d)$")
"""Id of an availability zone (use1-az4); local and wavelength zones have another part and are refused."""

ZONES_PER_VPC = 6
"""Blocks 0 to 5 of 8; the last is for public subnets, one stays free."""

PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
"""What a VPC may be made of (VPC User Guide, VPC CIDR blocks); loopback, link-local and test ranges are not."""

WIDEST_PREFIX, NARROWEST_PREFIX = 16, 20
"""AWS allows no VPC wider than /16; below /20 a private subnet has fewer than 507 addresses and pods use them too."""


@dataclass(frozen=True, kw_only=True)
class SubnetPair:
    """Subnets of one zone."""

    zone_id: str
    private_cidr: str
    public_cidr: str


def address_space(cidr: str) -> ipaddress.IPv4Network:
    """Return the VPC's network; raises ``BadInput`` unless it is private, /16 to /20 and without host bits."""
    where = "network.cidr"
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise BadInput(where, f"{cidr!r}: {error}", way_out="for example 10.20.0.0/16") from None
    if not WIDEST_PREFIX <= network.prefixlen <= NARROWEST_PREFIX:
        raise BadInput(
            where, f"{cidr} has prefix /{network.prefixlen}", limit=f"/{WIDEST_PREFIX} to /{NARROWEST_PREFIX}"
        )
    if not any(network.subnet_of(private) for private in PRIVATE):
        raise BadInput(
            where, f"{cidr} is no private range", limit="RFC 1918 or 100.64.0.0/10", way_out="for example 10.20.0.0/16"
        )
    return network


def zone_slot(zone_id: str) -> int:
    """Return the block of a zone, 0 to 5; raises ``BadInput`` for anything but a zone id such as use1-az4."""
    match = ZONE_ID.match(zone_id)
    if match is None:
        raise BadInput(
            "network.zoneIds", f"{zone_id!r} is not a zone id", way_out="use ids (use1-az1): names differ per account"
        )
    slot = int(match.group(1)) - 1
    if not 0 <= slot < ZONES_PER_VPC:
        raise BadInput("network.zoneIds", f"{zone_id} has no block", limit=f"az1 to az{ZONES_PER_VPC}")
    return slot


def subnet_layout(cidr: str, zone_ids: Sequence[str]) -> tuple[SubnetPair, ...]:
    """Return the subnets of each zone in the order given; raises ``BadInput`` for a bad range or zone."""
    blocks = list(address_space(cidr).subnets(prefixlen_diff=3))
    public = list(blocks[-1].subnets(prefixlen_diff=3))
    return tuple(
        SubnetPair(zone_id=zone, private_cidr=str(blocks[slot]), public_cidr=str(public[slot]))
        for zone in zone_ids
        for slot in (zone_slot(zone),)
    )


def private_subnet_tags(tags: Mapping[str, str], name: str, cluster_name: str) -> dict[str, str]:
    """Tags by which Karpenter and internal load balancers find a private subnet."""
    return named({**tags, DISCOVERY_TAG: cluster_name, "kubernetes.io/role/internal-elb": "1"}, name)


def public_subnet_tags(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """Tags by which load balancers with public addresses find a public subnet."""
    return named({**tags, "kubernetes.io/role/elb": "1"}, name)


def endpoint_service(region: str, service: str) -> str:
    """Return the service name of a VPC endpoint, for example com.amazonaws.eu-north-1.ecr.dkr."""
    return f"com.amazonaws.{region}.{service}"
