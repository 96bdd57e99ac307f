"""What a rendered graph must be: names of one owner, of a length that each service takes, and nobody unknown named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from components.common.well_known import PROMETHEUS_ADDRESS
from infra.recording import RecordedResource

LONGEST = {
    "aws:budgets/budget:Budget": ("name", 100, r"[^:\\]+"),
    "aws:cloudwatch/eventRule:EventRule": ("name", 64, r"[\w.-]+"),
    "aws:cloudwatch/logGroup:LogGroup": ("name", 512, r"[\w./#-]+"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": ("name", 255, r".+"),
    "aws:ec2/launchTemplate:LaunchTemplate": ("name", 128, r"[\w()./-]{3,}"),
    "aws:ecr/repository:Repository": ("name", 256, r"[a-z0-9]+([._/-][a-z0-9]+)*"),
    "aws:eks/cluster:Cluster": ("name", 100, r"[0-9A-Za-z][\w-]*"),
    "aws:eks/nodeGroup:NodeGroup": ("nodeGroupName", 63, r"[0-9A-Za-z][\w-]*"),
    "aws:iam/instanceProfile:InstanceProfile": ("name", 128, r"[\w+=,.@-]+"),
    "aws:iam/policy:Policy": ("name", 128, r"[\w+=,.@-]+"),
    "aws:iam/role:Role": ("name", 64, r"[\w+=,.@-]+"),
    "aws:kms/alias:Alias": ("name", 256, r"alias/[\w/-]+"),
    "aws:s3/bucket:Bucket": ("bucket", 63, r"[a-z0-9][a-z0-9-]{1,}[a-z0-9]"),
    "aws:sns/topic:Topic": ("name", 256, r"[\w-]+"),
    "aws:sqs/queue:Queue": ("name", 80, r"[\w-]+"),
}
"""Key of the name, most characters and form (API references of the services); \\w is ASCII."""
AUTONAMED = "-0123456"
"""What Pulumi puts behind the logical name of what has no name of its own."""
TAG_KEY, TAG_VALUE = 128, 256
LABEL = re.compile(r"([A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
AS_LABEL = (
    "Service", "Namespace", "StatefulSet", "Deployment", "Job", "CronJob", "ScaledObject", "Gateway", "HTTPRoute",
)  # fmt: skip
"""Kinds whose names become labels or DNS names; of a CronJob 52 characters are kept, the rest is a timestamp."""
SHORTER = {"CronJob": 52, "StatefulSet": 52}
"""The suffix of a Job of a CronJob has 11 characters; controller-revision-hash of a StatefulSet is name and 11."""
GENERATED = {"ExternalSecret": "Secret"}
REFERENCES = (
    ("serviceAccountName", "ServiceAccount"), ("configMap", "ConfigMap"), ("secretKeyRef", "Secret"),
    ("configMapKeyRef", "ConfigMap"), ("storageClassName", "StorageClass"), ("serviceName", "Service"),
    ("priorityClassName", "PriorityClass"), ("claimName", "PersistentVolumeClaim"), ("credentials", "Secret"),
    ("secretName", "Secret"),
)  # fmt: skip
GLOBAL = (
    "StorageClass", "PriorityClass", "EC2NodeClass", "NodePool", "GatewayClass", "ClusterSecretStore", "Namespace",
)  # fmt: skip
GIVEN = {("Namespace", "", "kube-system"), ("PriorityClass", "", "system-cluster-critical"),
         ("PriorityClass", "", "system-node-critical")}  # fmt: skip
"""What every cluster has."""

POD_LABELS = ("spec", "template", "metadata", "labels")
SELECTS = {
    "Service": (("spec", "selector"),), "PodDisruptionBudget": (("spec", "selector", "matchLabels"),),
    "NetworkPolicy": (("spec", "podSelector", "matchLabels"),), "Deployment": (("spec", "selector", "matchLabels"),),
    "StatefulSet": (("spec", "selector", "matchLabels"),),
}  # fmt: skip
"""Where a kind says which pods are its own."""

Object = tuple[str, str, str]
"""(kind, namespace, name); no namespace for what is in none."""


def problems(resources: Iterable[RecordedResource]) -> list[str]:
    """Return a sentence for each name that is doubled, too long, badly formed or not of anything in the graph."""
    known = tuple(resources)
    objects = [one for one in known if one.type.startswith("kubernetes:") and ":helm" not in one.type]
    made = [_identity(one) for one in objects]
    double = sorted({f"{one} stands twice" for one in made if made.count(one) > 1})
    exist = {*made, *((GENERATED[k], n, name) for k, n, name in made if k in GENERATED), *GIVEN}
    names = [*_names_of_aws(known), *_tags(known), *_names_of_kubernetes(objects)]
    return [*double, *names, *_unknown(objects, exist), *_selected(objects)]


def _identity(one: RecordedResource) -> Object:
    meta = _meta(one)
    kind = one.type.rpartition(":")[2]
    return (kind, "" if kind in GLOBAL else str(meta.get("namespace", "default")), str(meta.get("name", one.name)))


def _meta(one: RecordedResource) -> Mapping[str, Any]:
    meta = one.props.get("metadata")
    return meta if isinstance(meta, Mapping) else {}


def _names_of_aws(resources: Iterable[RecordedResource]) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for one in resources:
        if one.type in LONGEST:
            key, most, form = LONGEST[one.type]
            name = str(one.props.get(key) or f"{one.name}{AUTONAMED}")
            if len(name) > most or re.fullmatch(form, name, re.ASCII) is None:
                yield f"{one.type} {key} {name!r} ({len(name)}) is not at most {most} of {form}"
            if (one.type, name) in seen:
                yield f"{one.type} {name!r} is also {seen[one.type, name]}"
            seen[one.type, name] = one.name


def _tags(resources: Iterable[RecordedResource]) -> Iterator[str]:
    for one in resources:
        tags = one.props.get("tags")
        for key, value in tags.items() if isinstance(tags, Mapping) else ():
            if (
                len(str(key)) > TAG_KEY
                or len(str(value)) > TAG_VALUE
                or not re.fullmatch(r"[\w\s.:/=+@-]*", str(value))
            ):
                yield f"{one.name} has tag {key}={value!r}"


def _names_of_kubernetes(objects: Iterable[RecordedResource]) -> Iterator[str]:
    for one in objects:
        kind, namespace, name = _identity(one)
        form = DNS_LABEL if kind in AS_LABEL else DNS_NAME
        if len(name) > SHORTER.get(kind, 63 if kind in AS_LABEL else 253) or form.fullmatch(name) is None:
            yield f"{kind} {name!r} ({len(name)}) is no name"
        if namespace and DNS_LABEL.fullmatch(namespace) is None:
            yield f"{kind} {name} is in {namespace!r}"
        for path, value in _walk(one.props):
            if path[-2:-1] in {("labels",), ("matchLabels",)} and LABEL.fullmatch(str(value)) is None:
                yield f"{kind} {name}: label {path[-1]} is {value!r}"
            elif path[-1] == "name" and path[-2:-1] == ("ports",) and len(str(value)) > 15:
                yield f"{kind} {name}: port {value!r}"


def _unknown(objects: Iterable[RecordedResource], exist: set[Object]) -> Iterator[str]:
    for one in objects:
        kind, namespace, name = _identity(one)
        wanted = list(_named(one.props, namespace))
        if namespace:
            wanted.append(("Namespace", "", namespace))
        for each in wanted:
            if each not in exist:
                yield f"{kind} {name} in {namespace} names {each}, which nothing makes"
        for path, value in _walk(one.props):
            if path[-1] == "serverAddress" and value != PROMETHEUS_ADDRESS:
                yield f"{kind} {name} asks {value}"


def _selected(objects: Iterable[RecordedResource]) -> Iterator[str]:
    """Yield each selector that selects no pod, or those of two owners, of which each would get the other's share."""
    pods = [(_identity(one), labels) for one in objects for path, labels in _maps(one.props) if path == POD_LABELS]
    for one in objects:
        kind, namespace, name = _identity(one)
        for path, labels in _maps(one.props):
            if kind in SELECTS and path in SELECTS[kind] and labels:
                owners = {owner for owner, found in pods if owner[1] == namespace and labels.items() <= found.items()}
                if not owners or (len(owners) > 1 and kind != "NetworkPolicy"):
                    yield f"{kind} {name} in {namespace} selects {sorted(owners)}"


def _maps(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield path[-4:], value
        for key, each in value.items():
            yield from _maps(each, (*path, str(key)))


def _named(value: Any, namespace: str) -> Iterator[Object]:
    """Yield what a document refers to: typed references anywhere, and the fields of a pod that name objects."""
    if isinstance(value, list):
        for each in value:
            yield from _named(each, namespace)
    if not isinstance(value, Mapping):
        return
    for key, each in value.items():
        for field, kind in REFERENCES:
            if key == field:
                name = each.get("name") if isinstance(each, Mapping) else each
                if name:
                    yield (kind, "" if kind in GLOBAL else namespace, str(name))
        if key.endswith(("Ref", "Refs")) and key not in {"fieldRef", "secretKeyRef", "configMapKeyRef"}:
            for reference in each if isinstance(each, list) else [each]:
                if isinstance(reference, Mapping) and reference.get("kind") and reference.get("name"):
                    kind = str(reference["kind"])
                    place = "" if kind in GLOBAL else str(reference.get("namespace") or namespace)
                    yield (kind, place, str(reference["name"]))
        yield from _named(each, namespace)


def _walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _walk(each, (*path, str(key)))
    elif isinstance(value, list):
        for each in value:
            yield from _walk(each, path)
    elif path:
        yield path, value
