"""Stack file of the layer ``cluster``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from infra import versions
from infra.settings.types import (
    PERMISSIONS_BOUNDARY,
    REGISTRY_MIRROR,
    PolicyArn,
    Region,
    Registry,
    RoleArn,
    ServiceName,
    ZoneId,
    check_network,
)
from sizing.stated import Stated

RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
"""Terms for which CloudWatch Logs keeps a log group (its API reference, PutRetentionPolicy)."""


class SystemNodes(Stated):
    """Nodes without GPU for the cluster's own pods."""

    count: int = Field(
        2,
        ge=2,
        le=20,
        description="nodes, evenly over the zones, each zone a node group of its own; two survive the loss of one",
    )
    instance_type: str = Field("m7i.large", min_length=1, description="instance type without GPU")
    disk_gib: int = Field(50, ge=20, le=16384, description="root volume (gp3)")


class ClusterSettings(Stated):
    """Stack file of the layer ``cluster``: what changes rarely."""

    layer: Literal["cluster"] = Field(description="which of the two documents the file is")
    region: Region
    zones: int = Field(
        3, ge=2, le=5, description="number of availability zones of the network: those with most GPU types"
    )
    zone_ids: tuple[ZoneId, ...] | None = Field(
        None,
        min_length=2,
        max_length=5,
        strict=False,
        description="zones of the network by id, for example use1-az1; replaces `zones`",
    )
    cidr: str = Field("10.40.0.0/16", description="private address range of the network, /16 to /20")
    nat_per_zone: bool = Field(
        False,
        description="a NAT gateway in every zone, so that losing one does not cut the others off from the internet;"
        " false: one for all zones, which costs less",
    )
    interface_endpoints: tuple[ServiceName, ...] = Field(
        (),
        strict=False,
        description="AWS services that nodes reach through a private endpoint and not through NAT, by short name, for"
        " example ecr.api or sts; each is billed per zone and hour. The endpoint of S3 is free and always there",
    )
    flow_log_days: int = Field(
        0,
        description="days for which refused connections of the network are kept in CloudWatch, one of its terms (7, 14,"
        " 30, 90, 365 and others); 0: no flow logs",
    )
    kubernetes_version: str = Field(
        versions.KUBERNETES,
        pattern=r"^1\.\d{2}$",
        description="minor version of Kubernetes on EKS, one of infra/kubernetes_versions.json; add-ons, node image and"
        " node groups follow it",
    )
    admin_role_arns: tuple[RoleArn, ...] = Field(
        min_length=1,
        strict=False,
        description="IAM roles with cluster-admin rights; the one that deploys is among them",
    )
    public_access_cidrs: tuple[str, ...] = Field(
        (), strict=False, description="networks that reach the Kubernetes API from outside; none: private endpoint only"
    )
    api_access_cidrs: tuple[str, ...] = Field(
        (),
        strict=False,
        description="networks that reach the private endpoint of the Kubernetes API by port 443: of a VPN, of a peered"
        " network with the runner, of the bastion that people come through",
    )
    system_nodes: SystemNodes = SystemNodes()
    permissions_boundary_arn: PolicyArn | None = Field(None, description=PERMISSIONS_BOUNDARY)
    registry_mirror: Registry | None = Field(None, description=REGISTRY_MIRROR)
    protect: bool = Field(
        False,
        description="a destroy is refused, before anything is deleted, until this is false again and has been deployed;"
        " EKS refuses to delete the cluster as well",
    )

    @field_validator("cidr")
    @classmethod
    def _cidr(cls, value: str) -> str:
        return check_network(value)

    @field_validator("flow_log_days")
    @classmethod
    def _retention(cls, value: int) -> int:
        if value not in (0, *RETENTION_DAYS):
            shown = ", ".join(str(days) for days in RETENTION_DAYS)
            msg = f"{value} days is no term of CloudWatch Logs; limit: 0 or {shown}"
            raise ValueError(msg)
        return value

    @field_validator("public_access_cidrs", "api_access_cidrs")
    @classmethod
    def _cidrs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            if check_network(network) in {"0.0.0.0/0", "::/0"}:
                msg = f"{network} opens the Kubernetes API to everybody; name the networks of your people and CI"
                raise ValueError(msg)
        return value
