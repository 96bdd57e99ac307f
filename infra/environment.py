"""Names that a stack's own name decides: its environment, its cluster's stack, its secrets."""

from __future__ import annotations

from infra.settings.names import CLUSTER_SUFFIX, environment
from infra.settings.serving import ServingSettings


def cluster_stack(settings: ServingSettings, stack: str) -> str:
    """Return the name of the stack that holds the cluster of a serving stack."""
    return settings.cluster_stack or stack + CLUSTER_SUFFIX


def secrets_prefix(stack: str) -> str:
    """Return the prefix of the secrets that the stacks of an environment may read."""
    return f"tonnage/{environment(stack)}"
