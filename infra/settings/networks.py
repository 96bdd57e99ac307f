"""Networks of a stack file that are well formed and still cannot work: AWS refuses them, or nobody comes from there."""

from __future__ import annotations

import difflib
import ipaddress
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from components.cluster.network.documents import PRIVATE
from sizing.errors import BadInput

SERVICES = Path(__file__).resolve().parent.parent / "endpoint_services.json"
WIDEST_PUBLIC_PREFIX = 8
"""Shorter than the largest block that one organisation was ever given: two halves of the internet are everybody."""
MOST_PUBLIC_NETWORKS = 40
"""Networks that the public endpoint of EKS takes (EKS User Guide, service quotas)."""


@lru_cache(maxsize=1)
def endpoint_services() -> tuple[str, ...]:
    """Return the short names of the services that may have an interface endpoint."""
    return tuple(json.loads(SERVICES.read_text(encoding="utf-8"))["services"])


def check_public_access(networks: Sequence[str], place: str) -> None:
    """Refuse what the public endpoint of EKS does not take: IPv6, private networks, half the internet, too many."""
    if len(networks) > MOST_PUBLIC_NETWORKS:
        raise BadInput(place, f"{len(networks)} networks", limit=f"{MOST_PUBLIC_NETWORKS} by EKS")
    for index, text in enumerate(networks):
        network, here = _ipv4(text, f"{place}[{index}]"), f"{place}[{index}]"
        if _private(network):
            raise BadInput(
                here,
                f"{text} is private, and who comes to the public endpoint has a public address",
                limit="public networks",
                way_out="name the address that your network shows to the internet",
            )
        if network.prefixlen < WIDEST_PUBLIC_PREFIX:
            raise BadInput(
                here,
                f"{text} opens the Kubernetes API to half the internet",
                limit=f"/{WIDEST_PUBLIC_PREFIX} or narrower",
                way_out="name the networks of your people and CI",
            )


def check_callers(networks: Sequence[str], scheme: str, place: str) -> None:
    """Refuse callers of the gateway that its IPv4 load balancer does not take, and a public one nobody can reach."""
    known = [_ipv4(text, f"{place}[{index}]") for index, text in enumerate(networks)]
    if scheme == "internet-facing" and known and all(_private(one) for one in known):
        raise BadInput(
            place,
            "every network is private, and callers come to an internet-facing load balancer with public addresses",
            limit="at least one public network",
            way_out="gateway.scheme internal, or name the public networks of your callers",
        )


def _private(network: ipaddress.IPv4Network) -> bool:
    """Tell whether nobody on the internet has an address of this network; ranges for examples count as public."""
    return any(network.subnet_of(one) for one in PRIVATE)


def _ipv4(text: str, place: str) -> ipaddress.IPv4Network:
    network = ipaddress.ip_network(text)
    if not isinstance(network, ipaddress.IPv4Network):
        raise BadInput(
            place,
            f"{text} is IPv6",
            limit="IPv4: cluster and load balancer have no other addresses",
            way_out="leave it out",
        )
    return network


def check_endpoints(services: Sequence[str], place: str) -> None:
    """Refuse services that have no interface endpoint, with the nearest one; S3 has its gateway endpoint always."""
    for index, service in enumerate(services):
        if service in endpoint_services():
            continue
        nearest = difflib.get_close_matches(service.lower(), endpoint_services(), n=1)
        guess = f"did you mean {nearest[0]}?" if nearest else f"one of {', '.join(endpoint_services())}"
        problem = (
            "has its gateway endpoint always, which is free" if service == "s3" else "has no interface endpoint here"
        )
        raise BadInput(
            f"{place}[{index}]",
            f"{service!r} {problem}",
            limit=f"a service of infra/{SERVICES.name}",
            way_out="leave it out" if service == "s3" else guess,
        )
