"""IAM documents shared by the AWS components: trust, statements, ARNs. All return JSON text with sorted keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizing.errors import BadInput

Statement = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Arn:
    """The parts of an ARN that other ARNs are built from."""

    partition: str
    region: str
    account: str
    resource: str

    def sibling(self, service: str, resource: str, *, regional: bool = True) -> str:
        """Return the ARN of another resource of the same account (and region, where it has one)."""
        region = self.region if regional else ""
        return f"arn:{self.partition}:{service}:{region}:{self.account}:{resource}"


def parse_arn(text: str) -> Arn:
    """Split an ARN; raises ``BadInput`` unless it has its six parts."""
    parts = text.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn":
        raise BadInput("arn", f"{text!r} is not an ARN", way_out="arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE")
    return Arn(partition=parts[1], region=parts[3], account=parts[4], resource=parts[5])


def allow(sid: str, actions: Sequence[str], resources: str | Sequence[str], **condition: object) -> dict[str, object]:
    """Return an Allow statement; keyword arguments are condition operators (``StringEquals={...}``)."""
    return _statement("Allow", sid, actions, resources, condition)


def deny(sid: str, actions: Sequence[str], resources: str | Sequence[str], **condition: object) -> dict[str, object]:
    """Return a Deny statement."""
    return _statement("Deny", sid, actions, resources, condition)


def _statement(
    effect: str, sid: str, actions: Sequence[str], resources: str | Sequence[str], condition: Mapping[str, object]
) -> dict[str, object]:
    targets = [resources] if isinstance(resources, str) else list(resources)
    statement: dict[str, object] = {"Sid": sid, "Effect": effect, "Action": sorted(actions), "Resource": targets}
    if condition:
        statement["Condition"] = dict(condition)
    return statement


def policy(statements: Sequence[Statement]) -> str:
    """Return the policy document with these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, sort_keys=True)


def assume_role_by_service(service: str) -> str:
    """Trust of a role that one AWS service assumes."""
    return policy([{"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}])


def assume_role_by_pods(cluster_arn: str, namespace: str) -> str:
    """Trust of a role for EKS Pod Identity: only from this cluster and namespace."""
    return policy(
        [
            {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {
                    "StringEquals": {
                        "aws:SourceAccount": parse_arn(cluster_arn).account,
                        "aws:RequestTag/eks-cluster-arn": cluster_arn,
                        "aws:RequestTag/kubernetes-namespace": namespace,
                    }
                },
            }
        ]
    )


def create_service_role(partition: str, service: str) -> dict[str, object]:
    """Statement that lets a caller make a service's own role, which its first use in an account needs."""
    return allow(
        "CreateServiceRole",
        ["iam:CreateServiceLinkedRole"],
        f"arn:{partition}:iam::*:role/aws-service-role/{service}/*",
        StringEquals={"iam:AWSServiceName": service},
    )
