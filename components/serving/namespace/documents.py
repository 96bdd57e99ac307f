"""Documents of a namespace that starts closed."""

from __future__ import annotations

from collections.abc import Mapping

from components.common.kubernetes import Document
from sizing.nodes.labels import GPU_RESOURCE

DENY, QUOTA = "default-deny", "gpus"
OBJECT_NAMES = (DENY, QUOTA)
"""Names of all objects of the component inside the namespace."""


def namespace_labels(pod_security: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that make the API server refuse pods below the given Pod Security Standard."""
    return {
        **extra,
        "app.kubernetes.io/part-of": "tonnage",
        "pod-security.kubernetes.io/enforce": pod_security,
        "pod-security.kubernetes.io/warn": "restricted",
    }


def default_deny() -> Document:
    """Return the NetworkPolicy's spec that closes every pod of the namespace in both directions."""
    return {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def gpu_quota(gpus: int) -> Document:
    """Return the ResourceQuota's spec: the API server itself refuses pods beyond the plan's GPUs."""
    return {"hard": {f"requests.{GPU_RESOURCE}": str(gpus)}}
