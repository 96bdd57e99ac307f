"""The pinned binaries of the rehearsal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One located binary."""

    name: str
    version: str
    path: Path
    origin: str


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """Where everything that the rehearsal starts or reads lies."""

    pulumi: Path
    etcd: Path
    kube_apiserver: Path
    kube_scheduler: Path
    kube_controller_manager: Path
    kwok: Path
    crd_dirs: Mapping[str, tuple[Path, ...]]
    stage_files: tuple[Path, ...]
    policy_launcher_dir: Path
    tools: tuple[Tool, ...]


def ensure_tools(progress: Progress) -> Toolbox:
    """Locate every tool, build what is missing (once, under a lock), return where they are.

    Raises ``ToolError`` (exit 2) when a tool is missing and cannot be built.
    """
    raise RuntimeError(progress)
