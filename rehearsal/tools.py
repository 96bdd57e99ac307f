"""Finds the pinned binaries of the rehearsal, builds what is missing: ``python -m rehearsal.tools``.

A binary in ``KUBEBUILDER_ASSETS`` or on ``PATH`` is used when it answers with a release that will do; one that does
not is named and left alone. Everything else comes out of the cache that ``rehearsal.build`` fills.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rehearsal.build import Builder
from rehearsal.errors import ToolError
from rehearsal.toolset import Module, Progress, manifest_modules, modules, parse_version
from sizing.errors import TonnageError

PINS = Path(__file__).resolve().parent.parent / "tools"
NEEDED = ("pulumi", "etcd", "kubernetes", "kwok")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One located binary; ``origin`` is ``PATH``, ``KUBEBUILDER_ASSETS`` or ``built``."""

    name: str
    version: str
    path: Path
    origin: str


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """Where everything that the rehearsal starts or reads lies.

    ``crd_dirs``: name of a pinned module -> its definitions, one JSON file each. ``stage_files``: what kwok plays.
    ``policy_launcher_dir``: put it on the PATH of the engine.
    """

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


def ensure_tools(
    progress: Progress, *, pins: Path = PINS, environ: Mapping[str, str] | None = None
) -> Toolbox:  # fmt: skip
    """Locate every tool, build what is missing (once, under a lock), return where they are.

    Raises ``ToolError`` (exit 2) when a tool is missing and cannot be built.
    """
    builder = Builder(pins, progress, environ)
    known = modules(pins)
    tools = {tool.name: tool for name in NEEDED for tool in locate(known[name], builder)}
    manifests = {source.name: builder.manifests(source) for source in manifest_modules(pins)}
    stages = manifests.pop("kwok")
    return Toolbox(
        **{name.replace("-", "_"): tool.path for name, tool in tools.items()},
        crd_dirs=manifests,
        stage_files=stages,
        policy_launcher_dir=pins / "policy",
        tools=tuple(tools.values()),
    )


def locate(module: Module, builder: Builder) -> list[Tool]:
    """Return the binaries of one module: other copies that will do first, the rest built."""
    found = {name: tool for name in module.packages if (tool := _elsewhere(name, module, builder))}
    missing = [name for name in module.packages if name not in found]
    for name, path in builder.binaries(module, missing).items():
        found[name] = Tool(name=name, version=module.version, path=path, origin="built")
    return [found[name] for name in module.packages]


def _elsewhere(name: str, module: Module, builder: Builder) -> Tool | None:
    """Return a copy in KUBEBUILDER_ASSETS or on PATH, when its release will do."""
    for origin, folders in (("KUBEBUILDER_ASSETS", builder.environ.get("KUBEBUILDER_ASSETS", "")),
                            ("PATH", builder.environ.get("PATH", ""))):  # fmt: skip
        path = shutil.which(name, path=folders) if folders else None
        if path is None:
            continue
        version = _ask_version(path, module, builder.environ)
        if version and module.accepts(version):
            return Tool(name=name, version="v" + ".".join(map(str, version)), path=Path(path), origin=origin)
        told = ".".join(map(str, version)) if version else "unknown"
        builder.progress(f"ignoring {path}: version {told} does not stand in for {module.version}")
    return None


def _ask_version(path: str, module: Module, environ: Mapping[str, str]) -> tuple[int, int, int] | None:
    env = {**environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        done = subprocess.run(
            [path, *module.version_arguments], capture_output=True, text=True, check=False, timeout=20, env=env
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stdout)


def main(arguments: list[str]) -> int:
    """Locate or build, print a table; ``promtool`` as argument builds that one instead."""

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        tools = _named(arguments, say) if arguments else list(ensure_tools(say).tools)
    except TonnageError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; nothing half-built was kept")
        return 130
    for tool in tools:
        print(f"{tool.name:<24} {tool.version:<10} {tool.origin:<19} {_short(tool.path)}")
    return 0


def _named(names: Sequence[str], say: Progress) -> list[Tool]:
    """Locate or build the binaries of the named folders of ``tools/``."""
    known = modules(PINS)
    if unknown := [name for name in names if name not in known]:
        raise ToolError("tools", f"{unknown[0]!r} is not pinned", way_out=f"known: {', '.join(sorted(known))}")
    return [tool for name in names for tool in locate(known[name], Builder(PINS, say))]


def _short(path: Path) -> str:
    home = os.environ.get("HOME", "")
    return str(path).replace(home, "~", 1) if home and str(path).startswith(home + "/") else str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
