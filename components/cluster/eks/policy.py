"""IAM of the control plane."""

from __future__ import annotations

from components.common.iam import policy


def control_plane_trust() -> str:
    """Return the trust of the control plane's role."""
    principal = {"Service": "eks.amazonaws.com"}
    return policy([{"Effect": "Allow", "Principal": principal, "Action": ["sts:AssumeRole", "sts:TagSession"]}])
