"""IAM of the budget: who may publish alarms, and what the freeze denies."""

from __future__ import annotations

from collections.abc import Sequence

from components.common.iam import allow, deny, parse_arn, policy


def topic_policy(topic_arn: str) -> str:
    """Return who may publish: AWS Budgets and CloudWatch, for this account only."""
    arn = parse_arn(topic_arn)
    publish = {"Action": "sns:Publish", "Effect": "Allow", "Resource": topic_arn}
    return policy(
        [
            {**publish, "Sid": name, "Principal": {"Service": service}, "Condition": _own(arn.account, source)}
            for name, service, source in _publishers(arn.partition, arn.region, arn.account)
        ]
    )


def topic_key_policy(partition: str, region: str, account: str) -> str:
    """Return the policy of the topic's key: the account owns it, the two publishers may encrypt with it.

    Both send account and source with the request to the key (AWS Cost Management User Guide, SNS topic for budget
    notifications; SNS Developer Guide, key management, for alarms of CloudWatch).
    """
    owner = allow("Owner", ["kms:*"], "*")
    encrypt = allow("Encrypt", ["kms:Decrypt", "kms:GenerateDataKey*"], "*")
    return policy(
        [
            {**owner, "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"}},
            *(
                {**encrypt, "Sid": name, "Principal": {"Service": service}, "Condition": _own(account, source)}
                for name, service, source in _publishers(partition, region, account)
            ),
        ]
    )


def _publishers(partition: str, region: str, account: str) -> tuple[tuple[str, str, str], ...]:
    """Return (statement, service, what it acts for) of those that publish."""
    return (
        ("Budgets", "budgets.amazonaws.com", f"arn:{partition}:budgets::{account}:*"),
        ("Alarms", "cloudwatch.amazonaws.com", f"arn:{partition}:cloudwatch:{region}:{account}:alarm:*"),
    )


def _own(account: str, source: str) -> dict[str, object]:
    return {"StringEquals": {"aws:SourceAccount": account}, "ArnLike": {"aws:SourceArn": source}}


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
