"""Karpenter: the controller with its queue and permissions, and one NodePool per pool of the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from sizing.errors import BadInput
from sizing.plan import NodePoolPlan, ServingPlan

from .arguments import require_tags, require_text
from .charts import ChartVersion
from .documents import karpenter as document
from .documents.iam import assume_role_by_pods
from .documents.tags import named


@dataclass(frozen=True, kw_only=True)
class KarpenterControllerArgs:
    """The cluster that the controller buys machines for, and the chart that installs it."""

    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    node_role_arn: pulumi.Input[str]
    chart: ChartVersion
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse a chart that is not pinned and bad tags."""
        require_tags("karpenter.tags", self.tags)
        if not isinstance(self.chart, ChartVersion):
            raise BadInput("karpenter.chart", f"{self.chart!r} is not a ChartVersion")


class KarpenterController(pulumi.ComponentResource):
    """Queue and rules for spot notices, role by Pod Identity, Helm release.

    ``role_name`` is what a budget freeze denies new machines to.
    """

    queue_name: pulumi.Output[str]
    role_name: pulumi.Output[str]
    role_arn: pulumi.Output[str]
    release: kubernetes.helm.v3.Release

    def __init__(self, name: str, args: KarpenterControllerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:KarpenterController", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        queue = self._queue()
        role, permissions = self._role(queue)
        self.release = self._release(queue, permissions)
        self.queue_name, self.role_name, self.role_arn = queue.name, role.name, role.arn
        self.register_outputs({"queueName": self.queue_name, "roleName": self.role_name, "roleArn": self.role_arn})

    def _queue(self) -> aws.sqs.Queue:
        queue = aws.sqs.Queue(
            f"{self._name}-interruption",
            name=f"{self._name}-interruption",
            message_retention_seconds=document.MESSAGE_RETENTION_S,
            sqs_managed_sse_enabled=True,
            tags=named(self._args.tags, f"{self._name}-interruption"),
            opts=self._child,
        )
        aws.sqs.QueuePolicy(
            f"{self._name}-interruption",
            queue_url=queue.url,
            policy=queue.arn.apply(document.queue_policy),
            opts=self._child,
        )
        for event, pattern in document.INTERRUPTION_EVENTS.items():
            rule = aws.cloudwatch.EventRule(
                f"{self._name}-{event}",
                name=f"{self._name}-{event}",
                description=f"{event} events for Karpenter",
                event_pattern=pulumi.Output.json_dumps(pattern, sort_keys=True),
                tags=dict(self._args.tags),
                opts=self._child,
            )
            aws.cloudwatch.EventTarget(
                f"{self._name}-{event}", rule=rule.name, target_id="karpenter", arn=queue.arn, opts=self._child
            )
        return queue

    def _role(self, queue: aws.sqs.Queue) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        cluster_arn = pulumi.Output.from_input(self._args.cluster_arn)
        role = aws.iam.Role(
            f"{self._name}-controller",
            name=f"{self._name}-controller",
            assume_role_policy=cluster_arn.apply(lambda arn: assume_role_by_pods(arn, document.NAMESPACE)),
            tags=named(self._args.tags, f"{self._name}-controller"),
            opts=self._child,
        )
        allowed = aws.iam.RolePolicy(
            f"{self._name}-controller",
            role=role.name,
            policy=pulumi.Output.all(cluster_arn, self._args.node_role_arn, queue.arn).apply(
                lambda arns: document.controller_policy(*arns)
            ),
            opts=self._child,
        )
        association = aws.eks.PodIdentityAssociation(
            f"{self._name}-controller",
            cluster_name=self._args.cluster_name,
            namespace=document.NAMESPACE,
            service_account=document.SERVICE_ACCOUNT,
            role_arn=role.arn,
            tags=dict(self._args.tags),
            opts=self._child,
        )
        return role, [allowed, association]

    def _release(self, queue: aws.sqs.Queue, after: list[pulumi.Resource]) -> kubernetes.helm.v3.Release:
        chart = self._args.chart
        return kubernetes.helm.v3.Release(
            self._name,
            name="karpenter",
            namespace=document.NAMESPACE,
            chart=chart.chart,
            version=chart.version,
            repository_opts={"repo": chart.repository} if chart.repository else None,
            values=document.controller_values(self._args.cluster_name, queue.name),
            timeout=600,
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )


@dataclass(frozen=True, kw_only=True)
class KarpenterPoolsArgs:
    """The Karpenter pools of a plan and the models that they serve (for start-up and drain times)."""

    pools: tuple[NodePoolPlan, ...]
    models: tuple[ServingPlan, ...]
    cluster_name: pulumi.Input[str]
    node_role_name: pulumi.Input[str]
    ami_alias: str
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse managed pools, pools without a limit, and an image that floats."""
        require_text("karpenter.amiAlias", self.ami_alias)
        require_tags("karpenter.tags", self.tags)
        document.check_alias(self.ami_alias)
        for pool in self.pools:
            document.check_pool(pool, self.models)


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
            self._node_pool(pool, args, node_class)
        self.pool_names = sorted(pool.name for pool in args.pools)
        self.register_outputs({"poolNames": self.pool_names})

    def _options(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        # Draining a node takes up to its termination grace period; the engine must wait longer than that.
        return pulumi.ResourceOptions(
            parent=self, depends_on=list(after), custom_timeouts=pulumi.CustomTimeouts(delete="60m")
        )

    def _node_class(self, pool: NodePoolPlan, args: KarpenterPoolsArgs) -> kubernetes.apiextensions.CustomResource:
        return kubernetes.apiextensions.CustomResource(
            f"{pool.name}-class",
            api_version=document.CLASS_API_VERSION,
            kind="EC2NodeClass",
            metadata={"name": pool.name},
            spec=document.node_class(
                pool,
                ami_alias=args.ami_alias,
                cluster_name=args.cluster_name,
                node_role_name=args.node_role_name,
                tags=args.tags,
            ),
            opts=self._options(),
        )

    def _node_pool(
        self, pool: NodePoolPlan, args: KarpenterPoolsArgs, node_class: kubernetes.apiextensions.CustomResource
    ) -> None:
        kubernetes.apiextensions.CustomResource(
            f"{pool.name}-pool",
            api_version=document.API_VERSION,
            kind="NodePool",
            metadata={"name": pool.name},
            spec=document.node_pool(pool, args.models, pool.name),
            opts=self._options(node_class),
        )
