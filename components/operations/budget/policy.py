"""IAM of the budget: who may publish alarms, and what the freeze denies."""

from __future__ import annotations

from collections.abc import Sequence

from components.common.iam import allow, deny, parse_arn, policy


def topic_policy(topic_arn: str) -> str:
    """Return who may publish: AWS Budgets and CloudWatch, for this account only."""
    arn = parse_arn(topic_arn)
    publish = {"Action": "sns:Publish", "Effect": "Allow", "Resource": topic_arn}
    own = {"StringEquals": {"aws:SourceAccount": arn.account}}
    return policy(
        [
            {**publish, "Sid": "Budgets", "Principal": {"Service": "budgets.amazonaws.com"}, "Condition": own},
            {**publish, "Sid": "Alarms", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Condition": own},
        ]
    )


def topic_key_policy(partition: str, account: str) -> str:
    """Return the policy of the topic's key: the account owns it, the two publishers may encrypt with it."""
    services = {"Service": ["budgets.amazonaws.com", "cloudwatch.amazonaws.com"]}
    own = {"StringEquals": {"aws:SourceAccount": account}}
    owner = allow("Owner", ["kms:*"], "*")
    publishers = allow("Publishers", ["kms:Decrypt", "kms:GenerateDataKey*"], "*")
    return policy(
        [
            {**owner, "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"}},
            {**publishers, "Principal": services, "Condition": own},
        ]
    )


def freeze_policy() -> str:
    """Return what a freeze denies: new machines; those that run go on serving."""
    actions = ("ec2:CreateFleet", "ec2:RunInstances")
    return policy([deny("NoNewMachines", actions, "*")])


def freeze_role_policy(role_arns: Sequence[str], policy_arn: str) -> str:
    """Return what AWS Budgets may do: attach and detach this one policy, to these roles."""
    actions = ("iam:AttachRolePolicy", "iam:DetachRolePolicy")
    return policy([allow("ApplyFreeze", actions, list(role_arns), ArnEquals={"iam:PolicyARN": policy_arn})])


def freeze_trust(account: str) -> str:
    """Return the trust of the role by which AWS Budgets applies a freeze."""
    condition = {"StringEquals": {"aws:SourceAccount": account}}
    principal = {"Service": "budgets.amazonaws.com"}
    return policy([{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition}])
