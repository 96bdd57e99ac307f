"""Karpenter: the controller with its queue and permissions, and one NodePool per pool of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from components.capacity.karpenter_pools import documents
from components.common.arguments import require_tags, require_text
from components.common.kubernetes import minutes
from sizing.plan import NodePoolPlan


@dataclass(frozen=True, kw_only=True)
class KarpenterPoolsArgs:
    """The Karpenter pools of a plan, with the lifetimes of their nodes."""

    pools: tuple[NodePoolPlan, ...]
    cluster_name: pulumi.Input[str]
    node_role_name: pulumi.Input[str]
    ami_alias: str
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse managed pools, pools without a limit, and an image that floats."""
        require_text("karpenter.amiAlias", self.ami_alias)
        require_tags("karpenter.tags", self.tags)
        documents.check_alias(self.ami_alias)
        for pool in self.pools:
            documents.check_pool(pool)


class KarpenterPools(pulumi.ComponentResource):
    """An EC2NodeClass and a NodePool per pool.

    Destroy order: NodePool, then EC2NodeClass, then (in the cluster stack) the controller. Both kinds carry
    finalizers that the controller resolves by ending machines; so they are deleted one after the other and waited
    for, and never skipped with the cluster (``deleted_with`` would leave machines running that nobody owns).
    """

    pool_names: list[str]

    def __init__(self, name: str, args: KarpenterPoolsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:KarpenterPools", name, None, opts)
        for pool in args.pools:
            node_class = self._node_class(pool, args)
            self._node_pool(pool, node_class)
        self.pool_names = sorted(pool.name for pool in args.pools)
        self.register_outputs({"poolNames": self.pool_names})

    def _options(self, pool: NodePoolPlan, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        # Draining a node takes up to its termination grace period; the engine must wait at least that long.
        budget = minutes(documents.lifetime_of(pool).deletion_s)
        return pulumi.ResourceOptions(
            parent=self, depends_on=list(after), custom_timeouts=pulumi.CustomTimeouts(delete=budget)
        )

    def _node_class(self, pool: NodePoolPlan, args: KarpenterPoolsArgs) -> kubernetes.apiextensions.CustomResource:
        return kubernetes.apiextensions.CustomResource(
            f"{pool.name}-class",
            api_version=documents.CLASS_API_VERSION,
            kind="EC2NodeClass",
            metadata={"name": pool.name},
            spec=documents.node_class(
                pool,
                ami_alias=args.ami_alias,
                cluster_name=args.cluster_name,
                node_role_name=args.node_role_name,
                tags=args.tags,
            ),
            opts=self._options(pool),
        )

    def _node_pool(self, pool: NodePoolPlan, node_class: kubernetes.apiextensions.CustomResource) -> None:
        kubernetes.apiextensions.CustomResource(
            f"{pool.name}-pool",
            api_version=documents.API_VERSION,
            kind="NodePool",
            metadata={"name": pool.name},
            spec=documents.node_pool(pool, pool.name),
            opts=self._options(pool, node_class),
        )
