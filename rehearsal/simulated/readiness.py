"""When an object counts as ready, by kind; the same conditions as the official Kubernetes provider waits for.

A custom resource is ready when it exists: nobody here runs its controller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Document = Mapping[str, Any]


def waiting_for(live: Document) -> str:
    """Return what the object still lacks, "" when it is ready."""
    check = _CHECKS.get(live.get("kind", ""))
    if check is None:
        return ""
    status = live.get("status") or {}
    generation = (live.get("metadata") or {}).get("generation", 0)
    if live["kind"] in _OBSERVED and status.get("observedGeneration", 0) < generation:
        return "its controller has not seen it yet"
    return check(live.get("spec") or {}, status)


def _deployment(spec: Document, status: Document) -> str:
    wanted = spec.get("replicas", 1)
    ready, updated = status.get("availableReplicas", 0), status.get("updatedReplicas", 0)
    if ready >= wanted and updated >= wanted and status.get("replicas", 0) == wanted:
        return ""
    return f"{ready} of {wanted} replicas available"


def _stateful_set(spec: Document, status: Document) -> str:
    wanted = spec.get("replicas", 1)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    return "" if min(ready, updated) >= wanted else f"{min(ready, updated)} of {wanted} replicas ready"


def _daemon_set(_spec: Document, status: Document) -> str:
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    return "" if ready >= wanted else f"{ready} of {wanted} pods ready"


def _job(_spec: Document, status: Document) -> str:
    conditions = {one["type"] for one in status.get("conditions") or [] if one.get("status") == "True"}
    return "" if "Complete" in conditions else "not complete"


def _pod(_spec: Document, status: Document) -> str:
    conditions = {one["type"] for one in status.get("conditions") or [] if one.get("status") == "True"}
    return "" if "Ready" in conditions or status.get("phase") == "Succeeded" else "not ready"


def _namespace(_spec: Document, status: Document) -> str:
    return "" if status.get("phase") == "Active" else "not active"


_CHECKS: Mapping[str, Callable[[Document, Document], str]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "Job": _job,
    "Pod": _pod,
    "Namespace": _namespace,
}
_OBSERVED = frozenset({"Deployment", "StatefulSet", "DaemonSet"})


def pod_selector(live: Document) -> str:
    """Return the label selector of the pods that a workload makes, "" for other kinds."""
    if live.get("kind") == "Job":
        return f"job-name={live['metadata']['name']}"
    labels = ((live.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    if live.get("kind") not in _OBSERVED:
        return ""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
