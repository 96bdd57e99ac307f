"""Simulated nodes: what the scheduler sees of an instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kubernetes.client import ApiClient

from sizing.plan import StackPlan


@dataclass(frozen=True, kw_only=True)
class Taint:
    """A node taint."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node: its allocatable resources, labels and taints. Memory and disk in GiB."""

    name: str
    instance_type: str
    zone: str
    capacity_type: str
    cpu: float
    memory_gib: float
    ephemeral_gib: float
    gpus: int = 0
    pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()


def make_nodes(api: ApiClient, nodes: Sequence[NodeSpec], *, timeout_s: float = 30) -> None:
    """Create the nodes and wait until each is Ready."""


def remove_node(api: ApiClient, name: str) -> None:
    """Delete the node; its pods are evicted by deletion, as when an instance disappears."""


def nodes_from_plan(plan: StackPlan) -> tuple[NodeSpec, ...]:
    """Nodes of all pools at their ceiling, spread over the zones; plus the system nodes."""
    return ()
