"""Budget guard: AWS Budget on the stack's tag, topic, fast burn alarm, and a freeze where the plan wants one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.common.arguments import require_list, require_tags, require_text
from components.common.iam import parse_arn
from components.common.names import MOST_ROLE_NAME, at_most
from components.common.tags import named
from components.operations.budget import documents
from components.operations.budget.policy import (
    freeze_policy,
    freeze_role_policy,
    freeze_trust,
    topic_key_policy,
    topic_policy,
)
from sizing.errors import BadInput
from sizing.plan import Bounds, BudgetPlan


@dataclass(frozen=True, kw_only=True)
class BudgetGuardArgs:
    """The plan's budget and burn rates (USD per hour), and what a freeze acts on.

    ``frozen_role_names`` are the roles that buy machines: Karpenter's controller. They are needed when
    ``plan.on_exceed`` is ``freeze``. Managed groups are bought by a service-linked role of EC2 Auto Scaling, to which
    no policy can be attached: their bound is their size, not the freeze.
    """

    plan: BudgetPlan
    stack: str
    burn: Bounds
    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    tags: Mapping[str, str]
    frozen_role_names: Sequence[pulumi.Input[str]] = ()
    permissions_boundary: str | None = None

    def __post_init__(self) -> None:
        """Refuse thresholds, addresses and freezes that cannot work."""
        require_text("budget.stack", self.stack)
        require_tags("budget.tags", self.tags)
        require_list("budget.frozenRoleNames", self.frozen_role_names, wired=True)
        documents.check_plan(self.plan, self.burn)
        if self.plan.on_exceed == "freeze" and not self.frozen_role_names:
            raise BadInput(
                "budget.onExceed", "freeze has no role to freeze", way_out="give the role that buys machines, or notify"
            )


class BudgetGuard(pulumi.ComponentResource):
    """Tells people early and, with ``freeze``, denies new machines when the month's limit is reached."""

    topic_arn: pulumi.Output[str]
    budget_name: pulumi.Output[str]

    def __init__(self, name: str, args: BudgetGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:BudgetGuard", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self._owner = pulumi.Output.from_input(args.cluster_arn).apply(parse_arn)
        topic, allowed = self._topic()
        budget = self._budget(topic, allowed)
        self._alarm(topic)
        if args.plan.on_exceed == "freeze":
            self._freeze(budget, topic)
        self.topic_arn, self.budget_name = topic.arn, budget.name
        self.register_outputs({"topicArn": self.topic_arn, "budgetName": self.budget_name})

    def _tags(self) -> dict[str, str]:
        return named(self._args.tags, self._name)

    def _physical(self, suffix: str) -> pulumi.Output[str]:
        return pulumi.Output.concat(self._args.cluster_name, "-", self._args.stack, "-", suffix)

    def _topic(self) -> tuple[aws.sns.Topic, aws.sns.TopicPolicy]:
        key = aws.kms.Key(
            f"{self._name}-topic",
            description=f"Budget alarms of {self._args.stack}",
            enable_key_rotation=True,
            deletion_window_in_days=7,
            policy=self._owner.apply(lambda arn: topic_key_policy(arn.partition, arn.region, arn.account)),
            tags=self._tags(),
            opts=self._child,
        )
        topic = aws.sns.Topic(
            self._name,
            name=self._physical("budget"),
            kms_master_key_id=key.arn,
            tags=self._tags(),
            opts=self._child,
        )
        allowed = aws.sns.TopicPolicy(self._name, arn=topic.arn, policy=topic.arn.apply(topic_policy), opts=self._child)
        for address in sorted(set(self._args.plan.notify)):
            aws.sns.TopicSubscription(
                f"{self._name}-{address}", topic=topic.arn, protocol="email", endpoint=address, opts=self._child
            )
        return topic, allowed

    def _budget(self, topic: aws.sns.Topic, allowed: aws.sns.TopicPolicy) -> aws.budgets.Budget:
        args = self._args
        return aws.budgets.Budget(
            self._name,
            name=self._physical("monthly"),
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=f"{args.plan.monthly_usd:.2f}",
            limit_unit="USD",
            cost_filters=[
                aws.budgets.BudgetCostFilterArgs(name="TagKeyValue", values=[documents.tag_filter(args.stack)])
            ],
            notifications=[
                aws.budgets.BudgetNotificationArgs(**each, subscriber_sns_topic_arns=[topic.arn])
                for each in documents.notifications(args.plan)
            ],
            tags=self._tags(),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[allowed]),
        )

    def _alarm(self, topic: aws.sns.Topic) -> None:
        args = self._args
        vcpus = args.plan.fast_burn_vcpus
        aws.cloudwatch.MetricAlarm(
            f"{self._name}-fast-burn",
            name=self._physical("fast-burn"),
            alarm_description=documents.alarm_text(args.stack, args.burn, vcpus),
            comparison_operator="GreaterThanThreshold",
            threshold=vcpus,
            evaluation_periods=args.plan.alarm_periods,
            treat_missing_data="notBreaching",
            metric_queries=[
                aws.cloudwatch.MetricAlarmMetricQueryArgs(**each) for each in documents.alarm_queries(args.plan)
            ],
            alarm_actions=[topic.arn],
            ok_actions=[topic.arn],
            tags=self._tags(),
            opts=self._child,
        )

    def _freeze(self, budget: aws.budgets.Budget, topic: aws.sns.Topic) -> None:
        denial = aws.iam.Policy(
            f"{self._name}-freeze",
            name=self._physical("freeze"),
            description="Denies new machines while the budget is exceeded",
            policy=freeze_policy(),
            tags=self._tags(),
            opts=self._child,
        )
        role, allowed = self._freeze_role(denial)
        aws.budgets.BudgetAction(
            f"{self._name}-freeze",
            budget_name=budget.name,
            action_type="APPLY_IAM_POLICY",
            approval_model="AUTOMATIC",
            notification_type="ACTUAL",
            action_threshold=aws.budgets.BudgetActionActionThresholdArgs(
                action_threshold_type="PERCENTAGE", action_threshold_value=self._args.plan.freeze_at_percent
            ),
            definition=aws.budgets.BudgetActionDefinitionArgs(
                iam_action_definition=aws.budgets.BudgetActionDefinitionIamActionDefinitionArgs(
                    policy_arn=denial.arn, roles=list(self._args.frozen_role_names)
                )
            ),
            execution_role_arn=role.arn,
            subscribers=[aws.budgets.BudgetActionSubscriberArgs(address=topic.arn, subscription_type="SNS")],
            tags=self._tags(),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[allowed]),
        )

    def _freeze_role(self, denial: aws.iam.Policy) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        role = aws.iam.Role(
            f"{self._name}-freeze",
            name=self._physical("freeze").apply(lambda name: at_most(name, MOST_ROLE_NAME)),
            assume_role_policy=self._owner.apply(lambda arn: freeze_trust(arn.account)),
            permissions_boundary=self._args.permissions_boundary,
            tags=self._tags(),
            opts=self._child,
        )
        allowed = aws.iam.RolePolicy(
            f"{self._name}-freeze",
            role=role.name,
            policy=pulumi.Output.all(self._owner, denial.arn, *self._args.frozen_role_names).apply(
                lambda known: freeze_role_policy(
                    [known[0].sibling("iam", f"role/{name}", regional=False) for name in known[2:]], known[1]
                )
            ),
            opts=self._child,
        )
        return role, allowed
