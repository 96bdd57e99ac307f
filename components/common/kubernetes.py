"""Parts that every Kubernetes document of ours shares: labels, security contexts, network rules, generated keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Document = dict[str, Any]
EXTERNAL_SECRETS_API = "external-secrets.io/v1"
GENERATORS_API = "generators.external-secrets.io/v1alpha1"
"""A Kubernetes object or a part of one in wire form (camelCase); leaves may be Pulumi outputs."""

RUN_AS_ID = 10001
"""User and group of our containers; the Dockerfile in runtime/ creates the same."""

POD_IDENTITY_ENDPOINT = "169.254.170.23/32"
"""Link-local address of the EKS Pod Identity agent (AWS documentation, "How EKS Pod Identity works")."""


FORCED = {"pulumi.com/patchForce": "true"}
"""Annotation of a patch that takes over a field which a controller of Kubernetes has set before."""


def labels(name: str, component: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the recommended labels of an object; ``extra`` wins nothing over them."""
    own = {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "tonnage",
        "app.kubernetes.io/managed-by": "pulumi",
    }
    return {**(extra or {}), **own}


def selector(name: str, component: str) -> dict[str, str]:
    """Return the labels that select the pods of one workload; never changed, since selectors are immutable."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/component": component}


def pod_security_context(run_as: int = RUN_AS_ID) -> Document:
    """Return the pod's security context under the "restricted" Pod Security Standard."""
    return {
        "runAsNonRoot": True,
        "runAsUser": run_as,
        "runAsGroup": run_as,
        "fsGroup": run_as,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security_context() -> Document:
    """Return the container's security context under the "restricted" standard, root file system read-only."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def gib(size_gib: float) -> str:
    """Return a memory or disk quantity; fractions become MiB, so that no request is rounded down to nothing."""
    whole = int(size_gib)
    return f"{whole}Gi" if whole == size_gib else f"{round(size_gib * 1024)}Mi"


def seconds(count: int) -> str:
    """Return a duration in seconds."""
    return f"{count}s"


def minutes(whole_s: int) -> str:
    """Return a duration in minutes; plans give whole ones."""
    return f"{whole_s // 60}m"


def cpu(cores: float) -> str:
    """Return a CPU quantity in cores or millicores."""
    return str(int(cores)) if cores == int(cores) else f"{round(cores * 1000)}m"


def from_namespace(namespace: str, pod_labels: Mapping[str, str] | None = None) -> Document:
    """Return a network-policy peer: the pods of a namespace, or those of them that carry the labels."""
    peer: Document = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    if pod_labels:
        peer["podSelector"] = {"matchLabels": dict(pod_labels)}
    return peer


def tcp(*ports: int) -> list[Document]:
    """Return network-policy ports."""
    return [{"protocol": "TCP", "port": port} for port in ports]


def dns_egress() -> Document:
    """Return the egress rule that lets a pod resolve names, and nothing else, in kube-system."""
    return {
        "to": [from_namespace("kube-system", {"k8s-app": "kube-dns"})],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }


def aws_egress(https_cidrs: Sequence[str]) -> list[Document]:
    """Return egress to AWS: HTTPS to the given blocks (S3 answers from public addresses) and the identity agent."""
    return [
        {"to": [{"ipBlock": {"cidr": cidr}} for cidr in sorted(https_cidrs)], "ports": tcp(443)},
        {"to": [{"ipBlock": {"cidr": POD_IDENTITY_ENDPOINT}}], "ports": tcp(80)},
    ]


def generated_password(length: int = 40, digits: int = 10) -> Document:
    """Return the spec of an External Secrets ``Password`` generator: letters and digits, so that headers take it."""
    return {"length": length, "digits": digits, "symbols": 0, "noUpper": False, "allowRepeat": True}


def generated_key_secret(secret: str, generator: str, templates: Mapping[str, str]) -> Document:
    """Return the spec of an ExternalSecret that is generated once in the cluster and never leaves it.

    ``templates`` maps keys of the Secret to templates over ``.password``. Refresh is off: a new value would lock
    out whoever read the old one; to rotate, delete the Secret and restart its readers.
    """
    return {
        "refreshPolicy": "CreatedOnce",
        "target": {
            "name": secret,
            "creationPolicy": "Owner",
            "template": {"engineVersion": "v2", "data": dict(templates)},
        },
        "dataFrom": [
            {
                "sourceRef": {
                    "generatorRef": {
                        "apiVersion": GENERATORS_API,
                        "kind": "Password",
                        "name": generator,
                    }
                }
            }
        ],
    }


def stored_secret(secret: str, store: str, remote_key: str) -> Document:
    """Return the spec of an ExternalSecret that copies every property of a Secrets Manager entry."""
    return {
        "refreshInterval": "1h0m0s",
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
        "target": {"name": secret, "creationPolicy": "Owner"},
        "dataFrom": [{"extract": {"key": remote_key}}],
    }
