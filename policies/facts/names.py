"""What each service allows in a name: its length and its letters, from the API references of AWS and Kubernetes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from policies.graph import Resource, is_unknown


@dataclass(frozen=True, kw_only=True)
class NameForm:
    """Names of one service: the property that holds them, most characters, pattern, and the pattern in words."""

    key: str
    most: int
    pattern: str
    letters: str

    def problem(self, name: str) -> str:
        """Return what is wrong with a name, with the limit; empty when nothing is."""
        if len(name) > self.most:
            return f"{name!r} has {len(name)} characters; limit: {self.most}"
        if not re.fullmatch(self.pattern, name):
            return f"{name!r} has characters that are not allowed; limit: {self.letters}"
        return ""


WORD = ("[A-Za-z0-9_-]+", "letters, digits, - and _")
DNS_LABEL = ("[a-z0-9]([a-z0-9-]*[a-z0-9])?", "lower-case letters, digits and -, not at an end")
DNS_NAME = (r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "lower-case letters, digits, - and ., not at an end")


def _form(key: str, most: int, form: tuple[str, str]) -> NameForm:
    return NameForm(key=key, most=most, pattern=form[0], letters=form[1])


AWS_NAMES = {
    "aws:budgets/budget:Budget": _form("name", 100, (r"[^:\\]+", r"no : and no \ ")),
    "aws:cloudwatch/eventRule:EventRule": _form("name", 64, (r"[.A-Za-z0-9_-]+", "letters, digits, ., - and _")),
    "aws:cloudwatch/logGroup:LogGroup": _form("name", 512, ("[.A-Za-z0-9_/#-]+", "letters, digits, . - _ / #")),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _form("name", 255, ("[^\x00-\x1f]+", "no control characters")),
    "aws:ec2/launchTemplate:LaunchTemplate": _form(
        "name", 128, (r"[A-Za-z0-9()./_-]{3,}", "letters, digits, ( ) . / - _")
    ),
    "aws:ecr/repository:Repository": _form(
        "name", 256, ("[a-z0-9]+([._/-][a-z0-9]+)*", "lower-case letters and digits, with single . _ - / between")
    ),
    "aws:eks/cluster:Cluster": _form("name", 100, ("[A-Za-z0-9][A-Za-z0-9_-]*", WORD[1])),
    "aws:eks/nodeGroup:NodeGroup": _form("nodeGroupName", 63, ("[A-Za-z0-9][A-Za-z0-9_-]*", WORD[1])),
    "aws:iam/instanceProfile:InstanceProfile": _form(
        "name", 128, (r"[\w+=,.@-]+", "letters, digits and + = , . @ - _")
    ),
    "aws:iam/policy:Policy": _form("name", 128, (r"[\w+=,.@-]+", "letters, digits and + = , . @ - _")),
    "aws:iam/role:Role": _form("name", 64, (r"[\w+=,.@-]+", "letters, digits and + = , . @ - _")),
    "aws:kms/alias:Alias": _form("name", 256, ("alias/[A-Za-z0-9/_-]+", "alias/, then letters, digits, / - _")),
    "aws:s3/bucket:Bucket": _form("bucket", 63, (r"[a-z0-9][a-z0-9.-]+[a-z0-9]", DNS_NAME[1])),
    "aws:sns/topic:Topic": _form("name", 256, WORD),
    "aws:sqs/queue:Queue": _form("name", 80, WORD),
}
"""By resource type; what is not listed takes a name that AWS makes."""

KUBERNETES_NAMES = {
    "CronJob": _form("name", 52, DNS_LABEL),
    "Job": _form("name", 63, DNS_LABEL),
    "Namespace": _form("name", 63, DNS_LABEL),
    "Release": _form("name", 53, DNS_LABEL),
    "Service": _form("name", 63, ("[a-z]([a-z0-9-]*[a-z0-9])?", "lower-case letters, digits and -, from a letter")),
    "StatefulSet": _form("name", 52, DNS_LABEL),
}
"""By kind. The controllers of CronJob and StatefulSet add up to 11 characters to names and labels of 63; Helm allows
53."""
OBJECT_NAME = _form("name", 253, DNS_NAME)
LABEL_VALUE = _form(
    "labels", 63, ("([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?", "letters, digits, - _ ., not at an end")
)


def named(resource: Resource) -> tuple[NameForm, str] | None:
    """Return the form and the name that a resource states; None where there is none, or none that is known yet."""
    form = AWS_NAMES.get(resource.type)
    name: object = resource.props.get(form.key) if form else None
    if resource.is_kubernetes:
        form = KUBERNETES_NAMES.get(resource.kind, OBJECT_NAME)
        metadata = resource.props.get("metadata")
        name = resource.props.get("name") if resource.kind == "Release" else (metadata or {}).get("name")
    return (form, name) if form and isinstance(name, str) and name and not is_unknown(name) else None
