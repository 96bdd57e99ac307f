"""Custom resource definitions of the pinned modules."""

from __future__ import annotations

from kubernetes.client import ApiClient

from rehearsal.tools import Toolbox


def install_crds(api: ApiClient, toolbox: Toolbox) -> tuple[str, ...]:
    """Apply the definitions of the kinds that the stacks use, wait until Established; return their names."""
    return ()


def validated_kinds() -> frozenset[tuple[str, str]]:
    """Return (group, kind) of every kind with a pinned definition."""
    return frozenset()
