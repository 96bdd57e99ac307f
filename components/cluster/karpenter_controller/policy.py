"""IAM of the Karpenter controller and its queue.

The controller's permissions follow one rule: it may create and change machines only with this cluster's tags on
them, and end only machines that carry those tags. Read calls cannot be scoped by resource and are limited by region.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.common.iam import Statement, allow, create_service_role, deny, parse_arn, policy


def queue_policy(queue_arn: str, rule_arns: Sequence[str]) -> str:
    """Return the policy of the interruption queue: only these rules of EventBridge write, only by TLS.

    The rule's ARN is the key that EventBridge is documented to send (its User Guide, Amazon SQS permissions).
    """
    send = allow("EventsSend", ["sqs:SendMessage"], queue_arn, ArnEquals={"aws:SourceArn": sorted(rule_arns)})
    plain = deny("OnlyTls", ["sqs:*"], queue_arn, Bool={"aws:SecureTransport": "false"})
    return policy([{**send, "Principal": {"Service": "events.amazonaws.com"}}, {**plain, "Principal": "*"}])


def controller_policy(cluster_arn: str, node_role_arn: str, queue_arn: str) -> str:
    """Return what the controller may do in this cluster; see the module for the rule."""
    arn = parse_arn(cluster_arn)
    cluster = arn.resource.split("/", 1)[1]
    return policy(
        [
            *_launch_statements(arn.partition, arn.region, cluster),
            *_change_statements(arn.partition, arn.region, cluster),
            *_instance_profile_statements(
                arn.sibling("iam", "instance-profile/*", regional=False), arn.region, cluster
            ),
            *_read_statements(arn.partition, arn.region),
            allow("DescribeCluster", ["eks:DescribeCluster"], cluster_arn),
            allow(
                "PassNodeRole",
                ["iam:PassRole"],
                node_role_arn,
                StringEquals={"iam:PassedToService": "ec2.amazonaws.com"},
            ),
            create_service_role(arn.partition, "spot.amazonaws.com"),
            allow(
                "Interruption",
                ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
                queue_arn,
            ),
        ]
    )


def _ec2(partition: str, region: str, *kinds: str) -> list[str]:
    return [f"arn:{partition}:ec2:{region}:*:{kind}/*" for kind in kinds]


def _owned(tag_of: str, cluster: str) -> dict[str, str]:
    return {f"aws:{tag_of}/kubernetes.io/cluster/{cluster}": "owned", f"aws:{tag_of}/eks:eks-cluster-name": cluster}


def _launch_statements(partition: str, region: str, cluster: str) -> list[Statement]:
    launch = ("ec2:CreateFleet", "ec2:RunInstances")
    inputs = [
        f"arn:{partition}:ec2:{region}::image/*",
        f"arn:{partition}:ec2:{region}::snapshot/*",
        *_ec2(partition, region, "security-group", "subnet", "capacity-reservation"),
    ]
    owned = {f"aws:ResourceTag/kubernetes.io/cluster/{cluster}": "owned"}
    created = _ec2(
        partition,
        region,
        "fleet",
        "instance",
        "volume",
        "network-interface",
        "launch-template",
        "spot-instances-request",
    )
    pool_named = {"aws:RequestTag/karpenter.sh/nodepool": "*"}
    return [
        allow("LaunchFrom", launch, inputs),
        allow(
            "LaunchFromOwnTemplate",
            launch,
            _ec2(partition, region, "launch-template"),
            StringEquals=owned,
            StringLike={"aws:ResourceTag/karpenter.sh/nodepool": "*"},
        ),
        allow(
            "CreateTagged",
            (*launch, "ec2:CreateLaunchTemplate"),
            created,
            StringEquals=_owned("RequestTag", cluster),
            StringLike=pool_named,
        ),
        allow(
            "TagOnCreation",
            ["ec2:CreateTags"],
            created,
            StringEquals={
                **_owned("RequestTag", cluster),
                "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"],
            },
            StringLike=pool_named,
        ),
    ]


def _change_statements(partition: str, region: str, cluster: str) -> list[Statement]:
    owned = {f"aws:ResourceTag/kubernetes.io/cluster/{cluster}": "owned"}
    of_pool = {"aws:ResourceTag/karpenter.sh/nodepool": "*"}
    return [
        allow(
            "TagOwnInstances",
            ["ec2:CreateTags"],
            _ec2(partition, region, "instance"),
            **{
                "StringEquals": owned,
                "StringLike": of_pool,
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": cluster},
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                },
            },
        ),
        allow(
            "EndOwn",
            ["ec2:DeleteLaunchTemplate", "ec2:TerminateInstances"],
            _ec2(partition, region, "instance", "launch-template"),
            StringEquals=owned,
            StringLike=of_pool,
        ),
    ]


def _instance_profile_statements(resource: str, region: str, cluster: str) -> list[Statement]:
    requested = {**_owned("RequestTag", cluster), "aws:RequestTag/topology.kubernetes.io/region": region}
    existing = {
        f"aws:ResourceTag/kubernetes.io/cluster/{cluster}": "owned",
        "aws:ResourceTag/topology.kubernetes.io/region": region,
    }
    class_requested = {"aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    class_existing = {"aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    change = ("iam:AddRoleToInstanceProfile", "iam:DeleteInstanceProfile", "iam:RemoveRoleFromInstanceProfile")
    return [
        allow(
            "CreateProfiles",
            ["iam:CreateInstanceProfile"],
            resource,
            StringEquals=requested,
            StringLike=class_requested,
        ),
        allow(
            "TagProfiles",
            ["iam:TagInstanceProfile"],
            resource,
            StringEquals={**requested, **existing},
            StringLike={**class_requested, **class_existing},
        ),
        allow("ChangeOwnProfiles", change, resource, StringEquals=existing, StringLike=class_existing),
        allow("ReadProfiles", ["iam:GetInstanceProfile", "iam:ListInstanceProfiles"], "*"),
    ]


def _read_statements(partition: str, region: str) -> list[Statement]:
    described = (
        "CapacityReservations",
        "Images",
        "InstanceStatus",
        "InstanceTypeOfferings",
        "InstanceTypes",
        "Instances",
        "LaunchTemplates",
        "PlacementGroups",
        "SecurityGroups",
        "SpotPriceHistory",
        "Subnets",
    )
    return [
        allow(
            "ReadEc2", [f"ec2:Describe{kind}" for kind in described], "*", StringEquals={"aws:RequestedRegion": region}
        ),
        allow("ReadImages", ["ssm:GetParameter"], f"arn:{partition}:ssm:{region}::parameter/aws/service/*"),
        allow("ReadPrices", ["pricing:GetProducts"], "*"),
    ]
