"""IAM of the operators that call AWS: which service account may do what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from components.common.iam import allow, create_service_role, parse_arn, policy


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Service account of an operator and the policy of its role, from the cluster's ARN and the secrets' prefix."""

    service_account: str
    policy: Callable[[str, str], str]


def external_secrets_policy(cluster_arn: str, secrets_prefix: str) -> str:
    """Return what External Secrets may read: secrets under the prefix, nothing else."""
    secrets = parse_arn(cluster_arn).sibling("secretsmanager", f"secret:{secrets_prefix}/*")
    return policy([allow("ReadSecrets", ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"], secrets)])


def load_balancer_policy(cluster_arn: str, _secrets_prefix: str) -> str:
    """Return what the load balancer controller may do: read the network, change only what carries its tag."""
    arn = parse_arn(cluster_arn)
    cluster = arn.resource.split("/", 1)[1]
    tag = "elbv2.k8s.aws/cluster"
    made = {"StringEquals": {f"aws:RequestTag/{tag}": cluster}}
    owned = {"StringEquals": {f"aws:ResourceTag/{tag}": cluster}}
    groups = f"arn:{arn.partition}:ec2:{arn.region}:{arn.account}:security-group/*"
    balancers = [
        f"arn:{arn.partition}:elasticloadbalancing:{arn.region}:{arn.account}:{kind}/*"
        for kind in ("listener", "listener-rule", "loadbalancer", "targetgroup")
    ]
    vpc = f"arn:{arn.partition}:ec2:{arn.region}:{arn.account}:vpc/*"
    return policy(
        [
            allow("Read", _READ_ACTIONS, "*", StringEquals={"aws:RequestedRegion": arn.region}),
            create_service_role(arn.partition, "elasticloadbalancing.amazonaws.com"),
            allow("CreateBalancers", _CREATE_ACTIONS, balancers, **made),
            allow("TagBalancersOnCreation", ["elasticloadbalancing:AddTags"], balancers, **made),
            allow("ChangeOwnBalancers", _CHANGE_ACTIONS, balancers, **owned),
            allow("CreateGroups", ["ec2:CreateSecurityGroup"], groups, **made),
            allow("CreateGroupsInVpc", ["ec2:CreateSecurityGroup"], vpc),
            allow("TagGroups", ["ec2:CreateTags"], groups, **made),
            # The rule that lets a load balancer reach the nodes is written into the cluster's own group.
            allow(
                "OpenNodes",
                _INGRESS_ACTIONS,
                groups,
                StringEquals={f"aws:ResourceTag/kubernetes.io/cluster/{cluster}": "owned"},
            ),
            allow("ChangeOwnGroups", (*_INGRESS_ACTIONS, "ec2:DeleteSecurityGroup"), groups, **owned),
        ]
    )


_INGRESS_ACTIONS = ("ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress")
_CREATE_ACTIONS = tuple(
    f"elasticloadbalancing:Create{kind}" for kind in ("Listener", "LoadBalancer", "Rule", "TargetGroup")
)


_CHANGE_ACTIONS = tuple(
    f"elasticloadbalancing:{action}"
    for action in (
        "AddTags",
        "DeleteListener",
        "DeleteLoadBalancer",
        "DeleteRule",
        "DeleteTargetGroup",
        "DeregisterTargets",
        "ModifyListener",
        "ModifyListenerAttributes",
        "ModifyLoadBalancerAttributes",
        "ModifyRule",
        "ModifyTargetGroup",
        "ModifyTargetGroupAttributes",
        "RegisterTargets",
        "RemoveTags",
        "SetSecurityGroups",
        "SetSubnets",
    )
)


_READ_ACTIONS = (
    "ec2:DescribeAccountAttributes",
    "ec2:DescribeAddresses",
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeInstances",
    "ec2:DescribeInternetGateways",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeTags",
    "ec2:DescribeVpcs",
    # Elastic Load Balancing asks for it on behalf of whoever makes a load balancer with security groups.
    "ec2:GetSecurityGroupsForVpc",
    "elasticloadbalancing:Describe*",
)


IDENTITIES: Mapping[str, Identity] = {
    "aws-load-balancer-controller": Identity(
        service_account="aws-load-balancer-controller", policy=load_balancer_policy
    ),
    "external-secrets": Identity(service_account="external-secrets", policy=external_secrets_policy),
}
