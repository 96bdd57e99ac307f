"""IAM of the network: what VPC flow logs may do."""

from __future__ import annotations

from components.common.iam import allow, policy


def flow_log_policy(log_group_arn: str) -> str:
    """What VPC flow logs may do: write to their own log group."""
    actions = ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
    return policy([allow("WriteFlowLogs", actions, f"{log_group_arn}:*")])
