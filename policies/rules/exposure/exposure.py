"""Nothing is public by accident: no engine without NetworkPolicy, no key in a manifest, no image without digest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from policies.facts.workloads import Workload, workloads
from policies.graph import Resource, Violation, entries, look, of_kind
from policies.rule import Rule

SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
"""AWS Load Balancer Controller, guide/service/annotations: `internal` is the only scheme that is not public."""
SECRET_NAME = re.compile(r"(^|_)(API_?)?(KEY|TOKEN|PASSWORD|PASSWD|SECRET)S?$", re.IGNORECASE)
SECRET_ARGUMENT = re.compile(r"^--(api-key|token|password|hf-token)(=|$)")
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
AUTHENTICATION = ("apiKeyAuth", "jwt", "oidc", "basicAuth")


def exposure(resources: Sequence[Resource]) -> list[Violation]:
    """Check services, gateways, network policies, environment variables, secrets and images of the stack."""
    found = workloads(resources)
    violations = [one for service in of_kind(resources, "Service") for one in _service(service, found)]
    for proxy in of_kind(resources, "EnvoyProxy"):
        violations += _proxy(proxy, resources)
    for workload in found:
        violations += _engine(workload, resources) if workload.gpus and _serves(workload) else []
        violations += _keys(workload) + _images(workload)
    return violations + [one for secret in of_kind(resources, "Secret") for one in _secret(secret)]


def _serves(workload: Workload) -> bool:
    """Whether the pods serve requests, unlike a Job with a GPU."""
    return workload.resource.kind in {"Deployment", "StatefulSet", "DaemonSet", "Pod"}


def _service(service: Resource, found: Sequence[Workload]) -> list[Violation]:
    kind = look(service.props, "spec", "type") or "ClusterIP"
    name = service.object_name
    if kind == "NodePort":
        selector = look(service.props, "spec", "selector") or {}
        engines = [one.resource.object_name for one in found if one.gpus and _selects(selector, one.labels)]
        opened = f"opens {engines[0]}" if engines else "opens its pods"
        message = f"service {name} {opened} on every node (NodePort); hint: ClusterIP behind the gateway"
        return [Violation(resource=service.urn, message=message)]
    scheme = look(service.props, "metadata", "annotations", SCHEME)
    if kind == "LoadBalancer" and scheme != "internal":
        message = f"service {name} is public (scheme {scheme or 'not set'}); hint: annotate {SCHEME}: internal"
        return [Violation(resource=service.urn, message=message)]
    return []


def _proxy(proxy: Resource, resources: Sequence[Resource]) -> list[Violation]:
    """A gateway may be public only with authentication in front of it."""
    service = look(proxy.props, "spec", "provider", "kubernetes", "envoyService") or {}
    scheme = look(service, "annotations", SCHEME)
    if look(service, "type") == "ClusterIP" or scheme == "internal":
        return []
    policies = of_kind(resources, "SecurityPolicy")
    if any(look(one.props, "spec", method) is not None for one in policies for method in AUTHENTICATION):
        return []
    message = f"gateway {proxy.object_name} is public and asks for no key; hint: a SecurityPolicy, or scheme internal"
    return [Violation(resource=proxy.urn, message=message)]


def _engine(workload: Workload, resources: Sequence[Resource]) -> list[Violation]:
    """An engine has a NetworkPolicy that names who may call it; hosts have no port of their own."""
    name, urn = workload.resource.object_name, workload.resource.urn
    violations = []
    if look(workload.pod, "spec", "hostNetwork") or any(
        look(port, "hostPort") for one in workload.containers for port in entries(one, "ports")
    ):
        message = f"engine {name} listens on its node; hint: leave out hostNetwork and hostPort"
        violations.append(Violation(resource=urn, message=message))
    guards = [
        one
        for one in of_kind(resources, "NetworkPolicy")
        if one.namespace == workload.resource.namespace
        and _selects(look(one.props, "spec", "podSelector", "matchLabels") or {}, workload.labels, empty=True)
        and "Ingress" in (entries(one.props, "spec", "policyTypes") or ["Ingress"])
    ]
    if not guards:
        message = f"engine {name} has no NetworkPolicy; hint: allow ingress from the gateway and Prometheus only"
        violations.append(Violation(resource=urn, message=message))
    for guard in guards:
        if any(not entries(rule, "from") for rule in entries(guard.props, "spec", "ingress")):
            message = f"network policy {guard.object_name} lets everybody in; hint: name the peers under from"
            violations.append(Violation(resource=guard.urn, message=message))
    return violations


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str], *, empty: bool = False) -> bool:
    """Whether the labels match; an empty selector matches all in a NetworkPolicy and nothing in a Service."""
    return bool(selector or empty) and all(labels.get(key) == value for key, value in selector.items())


def _keys(workload: Workload) -> list[Violation]:
    """No key is written into the manifest; the value is never repeated in the message."""
    name, urn = workload.resource.object_name, workload.resource.urn
    violations = []
    for container in workload.containers:
        for variable in entries(container, "env"):
            if SECRET_NAME.search(str(look(variable, "name"))) and look(variable, "value"):
                message = f"{name} carries {look(variable, 'name')} as text; hint: valueFrom a secretKeyRef"
                violations.append(Violation(resource=urn, message=message))
        for word in [*entries(container, "command"), *entries(container, "args")]:
            if SECRET_ARGUMENT.match(str(word)) and "$(" not in str(word):
                option = str(word).partition("=")[0]
                message = f"{name} carries {option} on its command line; hint: an environment value from a secretKeyRef"
                violations.append(Violation(resource=urn, message=message))
    return violations


def _images(workload: Workload) -> list[Violation]:
    images = [str(look(one, "image") or "") for one in workload.containers]
    return [
        Violation(
            resource=workload.resource.urn,
            message=f"{workload.resource.object_name} runs {image or 'no image'}; limit: by digest (@sha256:...)",
        )
        for image in images
        if not DIGEST.search(image)
    ]


def _secret(secret: Resource) -> list[Violation]:
    if not (look(secret.props, "data") or look(secret.props, "stringData")):
        return []
    message = (
        f"secret {secret.object_name} has its value in the stack; hint: an ExternalSecret, values stay in the vault"
    )
    return [Violation(resource=secret.urn, message=message)]


RULE = Rule(
    name="exposure",
    description="No public engine, no key in the manifest, every image by digest.",
    level="mandatory",
    check=exposure,
)
