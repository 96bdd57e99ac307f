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


SecretArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+$")]


CertificateArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/\S+$")]


ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


ServiceName = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$")]


ZoneId = Annotated[str, Field(pattern=r"^[a-z]{3,4}\d-az\d$")]


KubernetesName = Annotated[str, Field(pattern=KUBERNETES_NAME)]


def check_network(value: str) -> str:
    """Refuse anything but a network in CIDR notation, with the error of ``ipaddress``."""
    ipaddress.ip_network(value)
    return value
