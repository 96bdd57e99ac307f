"""Finds the pinned binaries of the rehearsal, builds what is missing: ``python -m rehearsal.tools``.

A binary in ``KUBEBUILDER_ASSETS`` or on ``PATH`` is used when its version is accepted; another version is reported and
ignored. Everything else comes from the cache that ``rehearsal.build`` fills.
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
from rehearsal.expected import Measured, announcement
from rehearsal.toolset import (
    LANGUAGE_HOST,
    STAGES,
    Manifests,
    Module,
    Progress,
    manifest_modules,
    modules,
    parse_version,
)
from sizing.errors import TonnageError

PINS = Path(__file__).resolve().parent.parent / "tools"
NEEDED = ("pulumi", "etcd", "kubernetes", "kwok", "karpenter")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One located binary; ``origin`` is ``PATH``, ``KUBEBUILDER_ASSETS`` or ``built``."""

    name: str
    version: str
    path: Path
    origin: str


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """Paths of everything that the rehearsal starts or reads.

    ``crd_dirs``: name of a pinned module -> its definitions, one JSON file each. ``stage_files``: what kwok plays.
    ``language_host_files``: the engine's own scripts that start a Python program and a policy pack.
    ``policy_launcher_dir``: put it on the PATH of the engine.
    """

    pulumi: Path
    etcd: Path
    kube_apiserver: Path
    kube_scheduler: Path
    kube_controller_manager: Path
    kwok: Path
    karpenter_kwok: Path
    crd_dirs: Mapping[str, tuple[Path, ...]]
    stage_files: tuple[Path, ...]
    language_host_files: tuple[Path, ...]
    policy_launcher_dir: Path
    tools: tuple[Tool, ...]


def ensure_tools(
    progress: Progress, *, pins: Path = PINS, environ: Mapping[str, str] | None = None
) -> Toolbox:  # fmt: skip
    """Locate every tool, build what is missing (once, under a lock), return where they are.

    What will be built, its time and size are printed first; what only building needs is removed last. Raises
    ``ToolError`` (exit 2) when a tool is missing and cannot be built.
    """
    builder = Builder(pins, progress, environ)
    known = modules(pins)
    sources = manifest_modules(pins)
    tools = {tool.name: tool for tool in locate([known[name] for name in NEEDED], builder, sources)}
    files = {source.name: builder.manifests(source) for source in sources}
    builder.clear()
    return Toolbox(
        **{name.replace("-", "_"): tool.path for name, tool in tools.items()},
        stage_files=files.pop(STAGES),
        language_host_files=files.pop(LANGUAGE_HOST),
        crd_dirs=files,
        policy_launcher_dir=pins / "policy",
        tools=tuple(tools.values()),
    )


def locate(wanted: Sequence[Module], builder: Builder, sources: Sequence[Manifests] = ()) -> list[Tool]:
    """Return the binaries of modules: accepted copies first, the rest built one module after the other.

    ``sources`` are only announced with what is built.
    """
    found = {name: tool for module in wanted for name in module.packages if (tool := _elsewhere(name, module, builder))}
    ours = [(module, [name for name in module.packages if name not in found]) for module in wanted]
    missing = [(module, names) for module, wanted_of in ours if (names := builder.missing(module, wanted_of))]
    lacking = [source for source in sources if builder.lacks(source)]
    told = announcement(
        missing,
        lacking,
        Measured.read(builder.pins),
        where=_short(builder.cache),
        compiler=bool(missing or lacking) and builder.compiler.on_path() is None,
        cores=os.cpu_count() or 1,
    )
    for line in told:
        builder.progress(line)
    builder.total = sum(len(names) for _, names in missing)
    for module, names in ours:
        for name, path in builder.binaries(module, names).items():
            found[name] = Tool(name=name, version=module.version, path=path, origin="built")
    return [found[name] for module in wanted for name in module.packages]


def _elsewhere(name: str, module: Module, builder: Builder) -> Tool | None:
    """Return a copy in KUBEBUILDER_ASSETS or on PATH whose version is accepted."""
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
        say("interrupted; the next call goes on from here")
        return 130
    for tool in tools:
        print(f"{tool.name:<24} {tool.version:<10} {tool.origin:<19} {_short(tool.path)}")
    return 0


def _named(names: Sequence[str], say: Progress) -> list[Tool]:
    """Locate or build the binaries of the named folders of ``tools/``."""
    known = modules(PINS)
    if unknown := [name for name in names if name not in known]:
        raise ToolError("tools", f"{unknown[0]!r} is not pinned", way_out=f"known: {', '.join(sorted(known))}")
    builder = Builder(PINS, say)
    found = locate([known[name] for name in names], builder)
    builder.clear()
    return found


def _short(path: Path) -> str:
    home = os.environ.get("HOME", "")
    return str(path).replace(home, "~", 1) if home and str(path).startswith(home + "/") else str(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
