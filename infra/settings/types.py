"""Types that settings of several layers share: regions, ARNs, digests, zones, networks."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import Field

from sizing.stated import KUBERNETES_NAME

Region = Annotated[
    str,
    Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="AWS region of everything in the stack, also of its prices"),
]


RoleArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$")]


PolicyArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::(\d{12}|aws):policy/\S+$")]


Registry = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*\.[a-z0-9.-]*[a-z0-9](:\d+)?(/[a-z0-9._-]+)*$")]
"""Host of a registry and, where it keeps several upstreams, the prefix of one."""


SecretArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+$")]


CertificateArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/\S+$")]


ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


ServiceName = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$")]


ZoneId = Annotated[str, Field(pattern=r"^[a-z]{3,4}\d-az\d$")]


KubernetesName = Annotated[str, Field(pattern=KUBERNETES_NAME)]


PERMISSIONS_BOUNDARY = "IAM policy that every role of the stack carries as its permissions boundary; default: none"
REGISTRY_MIRROR = (
    "registry that serves Docker Hub's images, for example the prefix of an ECR pull-through cache; default: Docker Hub"
    " itself, whose limit all nodes behind a NAT gateway share"
)
"""Descriptions of keys that both layers have: each stack makes roles and pulls images of its own."""


def check_network(value: str) -> str:
    """Refuse anything but a network in CIDR notation, with the error of ``ipaddress``."""
    ipaddress.ip_network(value)
    return value
