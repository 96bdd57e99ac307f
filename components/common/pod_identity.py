"""The AWS identity of one service account: role, policy and EKS Pod Identity association."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.common.iam import assume_role_by_pods
from components.common.tags import named


@dataclass(frozen=True)
class PodIdentity:
    """What was registered; pods that need it wait for ``ready``."""

    role: aws.iam.Role
    ready: tuple[pulumi.Resource, ...]


def pod_identity(
    name: str,
    *,
    role_name: pulumi.Input[str],
    cluster_name: pulumi.Input[str],
    cluster_arn: pulumi.Input[str],
    namespace: str,
    service_account: str,
    policy: pulumi.Input[str],
    permissions_boundary: str | None,
    tags: Mapping[str, str],
    opts: pulumi.ResourceOptions,
) -> PodIdentity:
    """Register the identity of ``service_account``: only pods of this cluster and namespace can take the role.

    ``name`` is the logical name of all three resources, ``policy`` a JSON document, ``opts`` those of the caller's
    children: they stay children of the component that calls this.
    """
    role = aws.iam.Role(
        name,
        name=role_name,
        assume_role_policy=pulumi.Output.from_input(cluster_arn).apply(lambda arn: assume_role_by_pods(arn, namespace)),
        permissions_boundary=permissions_boundary,
        tags=named(tags, name),
        opts=opts,
    )
    allowed = aws.iam.RolePolicy(name, role=role.name, policy=policy, opts=opts)
    association = aws.eks.PodIdentityAssociation(
        name,
        cluster_name=cluster_name,
        namespace=namespace,
        service_account=service_account,
        role_arn=role.arn,
        tags=dict(tags),
        opts=opts,
    )
    return PodIdentity(role, (allowed, association))
