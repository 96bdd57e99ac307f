"""Karpenter: what the controller may do, what its queue hears, and the NodePool and EC2NodeClass of one pool.

The controller's permissions follow one rule: it may create and change machines only with this cluster's tags on
them, and end only machines that carry those tags. Read calls cannot be scoped by resource and are limited by region.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sizing.errors import BadInput
from sizing.plan import NodePoolPlan, ServingPlan

from . import node
from .gpu_node_group import node_labels
from .iam import Statement, allow, create_service_role, deny, parse_arn, policy
from .tags import DISCOVERY_TAG, SYSTEM_NODE_SELECTOR, named

NAMESPACE = "kube-system"
SERVICE_ACCOUNT = "karpenter"
API_VERSION = "karpenter.sh/v1"
CLASS_API_VERSION = "karpenter.k8s.aws/v1"

INTERRUPTION_EVENTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "health": {"source": ["aws.health"], "detail-type": ["AWS Health Event"]},
    "rebalance": {"source": ["aws.ec2"], "detail-type": ["EC2 Instance Rebalance Recommendation"]},
    "spot-interruption": {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]},
    "state-change": {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]},
}
"""EventBridge patterns that Karpenter reads from its queue (Karpenter documentation, Interruption)."""

MESSAGE_RETENTION_S = 300
"""A spot notice is of no use after two minutes; older messages only delay newer ones."""

EXPIRE_AFTER_HOURS = 720
"""Karpenter's own default: a node is replaced after 30 days, so that its image does not age without end."""

CONSOLIDATE_FLOOR_S = 600
"""An empty node is kept at least this long, also for models that start fast: traffic comes back in minutes."""

TERMINATION_FLOOR_S = 1800

PREFERENCE_STEP = 10
HIGHEST_WEIGHT = 100


def queue_policy(queue_arn: str) -> str:
    """Return the policy of the interruption queue: only EventBridge of this account writes, only by TLS."""
    account = parse_arn(queue_arn).account
    send = allow("EventsSend", ["sqs:SendMessage"], queue_arn, StringEquals={"aws:SourceAccount": account})
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


def controller_values(cluster_name: object, queue_name: object) -> dict[str, object]:
    """Return the chart's values: two replicas on system nodes, the queue, nothing experimental."""
    return {
        "serviceAccount": {"name": SERVICE_ACCOUNT},
        "settings": {
            "clusterName": cluster_name,
            "interruptionQueue": queue_name,
            "featureGates": {"nodeRepair": True, "spotToSpotConsolidation": False, "staticCapacity": False},
        },
        "replicas": 2,
        "nodeSelector": {"kubernetes.io/os": "linux", **SYSTEM_NODE_SELECTOR},
        "controller": {
            "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        },
    }


def check_alias(alias: str) -> None:
    """Raise ``BadInput`` for an image alias that floats: it replaces GPU nodes whenever AWS publishes an image."""
    family, _, release = alias.partition("@")
    if not family or not release or release == "latest":
        raise BadInput("karpenter.amiAlias", f"{alias!r} is not pinned", way_out="name a release, as al2023@v20260714")


def check_pool(pool: NodePoolPlan, models: Sequence[ServingPlan]) -> None:
    """Raise ``BadInput`` unless Karpenter can serve the pool within the plan."""
    where = f"pools.{pool.name}"
    if pool.kind != "karpenter":
        raise BadInput(where, f"kind is {pool.kind}", limit="karpenter", way_out="give managed pools to GpuNodeGroup")
    if not pool.offers or not pool.zones:
        raise BadInput(where, "has no instance type or no zone", way_out="allow more GPUs or zones in capacity")
    if pool.gpu_limit < 1:
        raise BadInput(where, f"GPU limit {pool.gpu_limit}", limit="at least 1", way_out="leave the pool out")
    unknown = sorted(set(pool.models) - {model.name for model in models})
    if unknown:
        raise BadInput(where, f"serves {', '.join(unknown)}, which are not in the plan")


def served(pool: NodePoolPlan, models: Sequence[ServingPlan]) -> list[ServingPlan]:
    """Return the plans of the models that the pool serves."""
    return [model for model in models if model.name in pool.models]


def minutes(seconds: float) -> str:
    """Return a duration in whole minutes, rounded up."""
    return f"{math.ceil(seconds / 60)}m"


def consolidate_after_s(models: Sequence[ServingPlan]) -> float:
    """Seconds that an empty node is kept: longer than the slowest start-up, so that a start is never thrown away.

    Rule: 1.5 x the longest predicted time from nothing to the first token, at least ten minutes.
    """
    return max([CONSOLIDATE_FLOOR_S, *(1.5 * model.start_up.total_s for model in models)])


def termination_s(models: Sequence[ServingPlan]) -> float:
    """Seconds that a leaving node may take: the replacement starts twice over, then the longest drain."""
    return max([TERMINATION_FLOOR_S, *(2 * m.start_up.total_s + m.drain.grace_period_s for m in models)])


def preference(pool: NodePoolPlan, models: Sequence[ServingPlan]) -> int:
    """Return the NodePool's weight: pools that the plan names earlier are bought first."""
    positions = [model.pools.index(pool.name) for model in served(pool, models) if pool.name in model.pools]
    return max(1, HIGHEST_WEIGHT - PREFERENCE_STEP * min(positions, default=0))


def requirements(pool: NodePoolPlan) -> list[dict[str, object]]:
    """Return what a machine of the pool must be; nothing is left to Karpenter that the plan has priced."""
    values: dict[str, Sequence[str]] = {
        "kubernetes.io/arch": ["amd64"],
        "karpenter.sh/capacity-type": [pool.capacity_type],
        "node.kubernetes.io/instance-type": [offer.instance_type for offer in pool.offers],
        "topology.k8s.aws/zone-id": sorted(pool.zones),
    }
    if pool.karpenter_gpu_name:
        values["karpenter.k8s.aws/instance-gpu-name"] = [pool.karpenter_gpu_name]
    return [{"key": key, "operator": "In", "values": list(value)} for key, value in sorted(values.items())]


def node_pool(pool: NodePoolPlan, models: Sequence[ServingPlan], node_class: str) -> dict[str, object]:
    """Return the spec of the NodePool.

    ``WhenEmpty``: a node that serves is never consolidated. Expiry evicts, so it comes with a termination grace
    period; drifted nodes are replaced one at a time, and only when the pinned image or the pool itself changes.
    """
    plans = served(pool, models)
    return {
        "weight": preference(pool, models),
        "limits": {"nvidia.com/gpu": str(pool.gpu_limit)},
        "disruption": {
            "consolidationPolicy": "WhenEmpty",
            "consolidateAfter": minutes(consolidate_after_s(plans)),
            "budgets": [
                {"nodes": "100%", "reasons": ["Empty"]},
                {"nodes": "1", "reasons": ["Drifted"]},
            ],
        },
        "template": {
            "metadata": {"labels": node_labels(pool)},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": node_class},
                "requirements": requirements(pool),
                "taints": [{"key": pool.taint_key, "value": pool.taint_value, "effect": "NoSchedule"}],
                "expireAfter": f"{EXPIRE_AFTER_HOURS}h",
                "terminationGracePeriod": minutes(termination_s(plans)),
            },
        },
    }


def node_class(
    pool: NodePoolPlan, *, ami_alias: str, cluster_name: object, node_role_name: object, tags: Mapping[str, str]
) -> dict[str, object]:
    """Return the spec of the EC2NodeClass: pinned image, encrypted root, NVMe as RAID0, discovery by tag.

    ``cluster_name`` and ``node_role_name`` may be outputs; they are only placed.
    """
    return {
        "amiSelectorTerms": [{"alias": ami_alias}],
        "role": node_role_name,
        "subnetSelectorTerms": [{"tags": {DISCOVERY_TAG: cluster_name}}],
        "securityGroupSelectorTerms": [{"tags": {DISCOVERY_TAG: cluster_name}}],
        "blockDeviceMappings": [node.root_volume(pool.disk)],
        "instanceStorePolicy": "RAID0",
        "metadataOptions": node.metadata_options(),
        "userData": node.user_data(node.node_config(local_disks=False)),
        "tags": named(tags, pool.name),
    }
