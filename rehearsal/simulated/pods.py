"""What a pod asks of a node, where it is, and what the scheduler says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizing.nodes.labels import GPU_RESOURCE

Document = Mapping[str, Any]
SUFFIXES = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True, kw_only=True)
class Room:
    """Resources: what a pod asks for, or what a node has. Memory and disk in GiB."""

    cpu: float = 0.0
    memory_gib: float = 0.0
    ephemeral_gib: float = 0.0
    gpus: int = 0

    def text(self) -> str:
        """Return the room in words."""
        parts = [f"{self.gpus} GPUs"] if self.gpus else []
        return ", ".join([*parts, f"{self.cpu:g} CPU", f"{self.memory_gib:g} GiB memory"])


def number(quantity: object) -> float:
    """Return a Kubernetes quantity as a number (bytes, CPUs, pieces); 0 for none."""
    text = str(quantity or 0)
    if text.endswith("m"):
        return float(text[:-1]) / 1000
    for suffix, factor in SUFFIXES.items():
        if text.endswith(suffix):
            return float(text[: -len(suffix)]) * factor
    return float(text)


def room_of(resources: Document) -> Room:
    """Return requests, limits or allocatable resources as a ``Room``."""
    return Room(
        cpu=number(resources.get("cpu")),
        memory_gib=number(resources.get("memory")) / 2**30,
        ephemeral_gib=number(resources.get("ephemeral-storage")) / 2**30,
        gpus=int(number(resources.get(GPU_RESOURCE))),
    )


def asked(pod: Document) -> Room:
    """Return what a pod asks for: the sum over its containers, or its largest init container if that is more."""
    spec = pod.get("spec") or {}
    running = [room_of((one.get("resources") or {}).get("requests") or {}) for one in spec.get("containers") or []]
    starting = [room_of((one.get("resources") or {}).get("requests") or {}) for one in spec.get("initContainers") or []]
    return Room(
        cpu=max([sum(one.cpu for one in running), *(one.cpu for one in starting)]),
        memory_gib=max([sum(one.memory_gib for one in running), *(one.memory_gib for one in starting)]),
        ephemeral_gib=max([sum(one.ephemeral_gib for one in running), *(one.ephemeral_gib for one in starting)]),
        gpus=max([sum(one.gpus for one in running), *(one.gpus for one in starting)]),
    )


def name_of(document: Document) -> str:
    """Return ``namespace/name`` (``name`` for objects without a namespace)."""
    metadata = document["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else str(metadata["name"])


def is_active(pod: Document) -> bool:
    """Whether the pod counts: neither finished nor on its way out."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in {"Succeeded", "Failed"} and not pod["metadata"].get("deletionTimestamp")


def node_of(pod: Document) -> str:
    """Return the node that the pod is bound to, "" while there is none."""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def unschedulable(pod: Document) -> str:
    """Return what the scheduler said of the nodes, "" when it has not said so; what it says of preemption is cut."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            said = str(condition.get("message") or condition.get("reason") or "unschedulable")
            return re.split(r"[.,]? (?:no new claims|preemption:)", said)[0]
    return ""
