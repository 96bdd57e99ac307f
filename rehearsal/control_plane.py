"""A real Kubernetes control plane on loopback: etcd, API server, scheduler, controller manager, kwok."""

from __future__ import annotations

from pathlib import Path

from kubernetes.client import ApiClient

from rehearsal.process import Supervisor
from rehearsal.tools import Progress, Toolbox


class ControlPlane:
    """Context manager; ready when the API server answers and the default service account exists.

    ``kubeconfig``: path of an admin kubeconfig (0600, below the run folder); ``server``: https address.
    """

    kubeconfig: Path
    server: str

    def __init__(self, toolbox: Toolbox, supervisor: Supervisor, progress: Progress) -> None:
        """Remember the parts; nothing is started before ``__enter__``."""

    def __enter__(self) -> ControlPlane:
        """Start everything; raise ``RehearsalFailed`` naming the process and its last log line."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything, in under five seconds."""

    def api(self) -> ApiClient:
        """Return a new admin client of the API server (one per thread)."""
        return ApiClient()
