"""Values that stand in examples and shipped stack files and are nobody's: an ``up`` with one of them cannot succeed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from pydantic import BaseModel

from infra.settings.schema import config_key

ACCOUNTS = frozenset({"012345678901", "111122223333", "123456789012", "444455556666", "777788889999"})
"""Account ids of AWS's own documentation; so is one digit twelve times."""
NETWORKS = tuple(
    ipaddress.ip_network(one) for one in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
"""Networks for documentation, routed nowhere (RFC 5737, RFC 3849)."""
DOMAINS = ("example", "example.com", "example.net", "example.org", "invalid", "test")
"""Domains for documentation and tests, which take no mail (RFC 2606)."""
REPEATED = re.compile(r"(.)\1*")
ACCOUNT = re.compile(r"(?:arn:[^:]*:[^:]*:[^:]*:(\d{12}):|(\d{12})\.dkr\.ecr\.)")
"""Where a value names an account: in an ARN, or in the host of its registry."""


def is_placeholder_digest(digest: str) -> bool:
    """Return True for a digest of one digit 64 times, which no image has."""
    return REPEATED.fullmatch(digest.partition(":")[2]) is not None


def is_placeholder_account(account: str) -> bool:
    """Return True for an account id of documentation."""
    return account in ACCOUNTS or REPEATED.fullmatch(account) is not None


def is_placeholder_network(cidr: str) -> bool:
    """Return True for a network within one for documentation."""
    network = ipaddress.ip_network(cidr)
    return any(
        network.version == known.version and int(known[0]) <= int(network[0]) and int(network[-1]) <= int(known[-1])
        for known in NETWORKS
    )


def is_placeholder_address(address: str) -> bool:
    """Return True for an e-mail address in a domain that takes no mail."""
    domain = address.rpartition("@")[2].lower()
    return any(domain == known or domain.endswith(f".{known}") for known in DOMAINS)


def placeholder_accounts(settings: BaseModel) -> tuple[tuple[str, str], ...]:
    """Return (key, account) of everything in a stack file that names an account of documentation, in its order."""
    document = settings.model_dump(by_alias=True)
    found = []
    for key, value in document.items():
        for place, text in _texts(config_key(key), value):
            match = ACCOUNT.match(text)
            account = (match[1] or match[2]) if match else ""
            if account and is_placeholder_account(account):
                found.append((place, account))
    return tuple(found)


def _texts(place: str, value: object) -> Iterator[tuple[str, str]]:
    """Return (place, text) of every text below ``value``."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(f"{place}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _texts(f"{place}[{index}]", item)
