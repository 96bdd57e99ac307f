"""The Karpenter controller: identity, interruption queue, chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from components.cluster.karpenter_controller.documents import (
    INTERRUPTION_EVENTS,
    MESSAGE_RETENTION_S,
    NAMESPACE,
    SERVICE_ACCOUNT,
    controller_values,
)
from components.cluster.karpenter_controller.policy import controller_policy, queue_policy
from components.common.arguments import require_tags
from components.common.charts import ChartVersion, Installed, installed
from components.common.pod_identity import PodIdentity, pod_identity
from components.common.tags import named
from sizing.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class KarpenterControllerArgs:
    """The cluster that the controller buys machines for, and the chart that installs it."""

    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    node_role_arn: pulumi.Input[str]
    chart: ChartVersion
    tags: Mapping[str, str]
    permissions_boundary: str | None = None

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
        identity = self._identity(queue)
        role = identity.role
        self.release = self._release(queue, identity.ready)
        self.queue_name, self.role_name, self.role_arn = queue.name, role.name, role.arn
        self.register_outputs({"queueName": self.queue_name, "roleName": self.role_name, "roleArn": self.role_arn})

    def _queue(self) -> aws.sqs.Queue:
        queue = aws.sqs.Queue(
            f"{self._name}-interruption",
            name=f"{self._name}-interruption",
            message_retention_seconds=MESSAGE_RETENTION_S,
            sqs_managed_sse_enabled=True,
            tags=named(self._args.tags, f"{self._name}-interruption"),
            opts=self._child,
        )
        rules: list[aws.cloudwatch.EventRule] = []
        for event, pattern in INTERRUPTION_EVENTS.items():
            rule = aws.cloudwatch.EventRule(
                f"{self._name}-{event}",
                name=f"{self._name}-{event}",
                description=f"{event} events for Karpenter",
                event_pattern=pulumi.Output.json_dumps(pattern, sort_keys=True),
                tags=dict(self._args.tags),
                opts=self._child,
            )
            rules.append(rule)
            aws.cloudwatch.EventTarget(
                f"{self._name}-{event}", rule=rule.name, target_id="karpenter", arn=queue.arn, opts=self._child
            )
        aws.sqs.QueuePolicy(
            f"{self._name}-interruption",
            queue_url=queue.url,
            policy=pulumi.Output.all(queue.arn, *(rule.arn for rule in rules)).apply(
                lambda arns: queue_policy(arns[0], arns[1:])
            ),
            opts=self._child,
        )
        return queue

    def _identity(self, queue: aws.sqs.Queue) -> PodIdentity:
        args, name = self._args, f"{self._name}-controller"
        return pod_identity(
            name,
            role_name=name,
            cluster_name=args.cluster_name,
            cluster_arn=args.cluster_arn,
            namespace=NAMESPACE,
            service_account=SERVICE_ACCOUNT,
            policy=pulumi.Output.all(args.cluster_arn, args.node_role_arn, queue.arn).apply(
                lambda arns: controller_policy(*arns)
            ),
            permissions_boundary=args.permissions_boundary,
            tags=args.tags,
            opts=self._child,
        )

    def _release(self, queue: aws.sqs.Queue, after: Sequence[pulumi.Resource]) -> kubernetes.helm.v3.Release:
        place = Installed(
            release="karpenter",
            namespace=NAMESPACE,
            values=controller_values(self._args.cluster_name, queue.name),
            timeout_s=600,
        )
        return installed(self._name, self._args.chart, place, parent=self, after=after)
