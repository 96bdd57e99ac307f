"""Tags and labels that several components share."""

from __future__ import annotations

from collections.abc import Mapping

SYSTEM_LABEL = "tonnage.dev/system"
"""Kubernetes label of the nodes that run operators and jobs."""

DISCOVERY_TAG = "karpenter.sh/discovery"
"""AWS tag by which Karpenter finds subnets and security groups; its value is the cluster name."""

SYSTEM_NODE_SELECTOR: Mapping[str, str] = {SYSTEM_LABEL: "true"}


def named(tags: Mapping[str, str], name: str) -> dict[str, str]:
    """Return ``tags`` plus the display name, sorted by key."""
    return dict(sorted({**tags, "Name": name}.items()))
