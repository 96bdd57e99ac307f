"""The on-demand floor of one model: an EKS managed node group with its launch template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.capacity.gpu_node_group import documents
from components.common.arguments import require_tags
from components.common.launch_template import node_launch_template
from components.common.node import GPU_AMI_TYPE, node_config, node_labels
from sizing.errors import BadInput
from sizing.plan import NodePoolPlan


@dataclass(frozen=True, kw_only=True)
class GpuNodeGroupArgs:
    """One managed pool of the plan.

    ``subnet_ids`` maps zone ids to private subnets and must hold every zone of the pool. ``kubernetes_version`` is
    that of the control plane: without it a group stays on the version that it was made with. ``ami_release_version``
    pins the node image; without it EKS takes the newest at creation and keeps it until the Kubernetes version changes.
    """

    pool: NodePoolPlan
    cluster_name: pulumi.Input[str]
    node_role_arn: pulumi.Input[str]
    subnet_ids: Mapping[str, pulumi.Input[str]]
    kubernetes_version: pulumi.Input[str]
    tags: Mapping[str, str]
    ami_type: str = GPU_AMI_TYPE
    ami_release_version: str | None = None

    def __post_init__(self) -> None:
        """Refuse a pool that is not managed, and zones without a subnet."""
        documents.check_pool(self.pool)
        require_tags("gpuNodeGroup.tags", self.tags)
        where = f"pools.{self.pool.name}.zones"
        if not isinstance(self.subnet_ids, Mapping):
            raise BadInput(where, "subnets are not given by zone id", way_out="map each zone id to its subnet")
        missing = sorted(set(self.pool.zones) - set(self.subnet_ids))
        if missing:
            raise BadInput(where, f"{', '.join(missing)} have no subnet", way_out="add the zones to the cluster stack")


class GpuNodeGroup(pulumi.ComponentResource):
    """GPU nodes that run always: labelled, tainted, repaired, replaced one at a time."""

    node_group_name: pulumi.Output[str]
    node_group: aws.eks.NodeGroup

    def __init__(self, name: str, args: GpuNodeGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:GpuNodeGroup", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        template = node_launch_template(
            name,
            physical_name=pulumi.Output.concat(args.cluster_name, "-", name),
            disk=args.pool.disk,
            config=node_config(local_disks=True),
            tags=args.tags,
            opts=child,
        )
        self.node_group = _node_group(name, args, template, child)
        self.node_group_name = self.node_group.node_group_name
        self.register_outputs({"nodeGroupName": self.node_group_name})


def _node_group(
    name: str, args: GpuNodeGroupArgs, template: aws.ec2.LaunchTemplate, opts: pulumi.ResourceOptions
) -> aws.eks.NodeGroup:
    pool = args.pool
    return aws.eks.NodeGroup(
        name,
        cluster_name=args.cluster_name,
        node_group_name=documents.node_group_name(name, pool, args.ami_type),
        node_role_arn=args.node_role_arn,
        ami_type=args.ami_type,
        version=args.kubernetes_version,
        release_version=args.ami_release_version,
        capacity_type="SPOT" if pool.capacity_type == "spot" else "ON_DEMAND",
        instance_types=documents.instance_types(pool),
        subnet_ids=[args.subnet_ids[zone] for zone in pool.zones],
        launch_template=aws.eks.NodeGroupLaunchTemplateArgs(id=template.id, version=template.latest_version.apply(str)),
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(**documents.scaling(pool)),
        # The default strategy starts up to two machines per zone before it ends one: beyond the plan's ceiling.
        update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1, update_strategy="MINIMAL"),
        node_repair_config=aws.eks.NodeGroupNodeRepairConfigArgs(enabled=True),
        labels=node_labels(pool),
        taints=[aws.eks.NodeGroupTaintArgs(**documents.taint(pool))],
        tags=dict(args.tags),
        opts=opts,
    )
