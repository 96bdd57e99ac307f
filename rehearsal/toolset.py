"""What is pinned: which binary comes from which module, and which versions of another copy are accepted.

Versions are read from ``tools/*/go.mod`` and ``tools/crds/modules.txt``; nothing here repeats them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rehearsal.errors import ToolError

Progress = Callable[[str], None]
Version = tuple[int, int, int]
STAGES = "kwok"
LANGUAGE_HOST = "pulumi-sdk"
VERBATIM = (STAGES, LANGUAGE_HOST)
"""Entries of ``tools/crds/modules.txt`` that are not definitions: their files are kept as they are."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """One folder of ``tools/``: the binaries that it builds, at one version.

    ``packages``: binary name -> Go package. ``also_accepts``: oldest minor release that another copy may have
    (exactly the pinned minor when absent).
    """

    name: str
    version: str
    packages: dict[str, str]
    ldflags: str = ""
    version_arguments: tuple[str, ...] = ("--version",)
    oldest: tuple[int, int] | None = None
    newest_major_only: bool = False

    def ldflags_option(self) -> list[str]:
        """Return the linker option: no symbol table, and what the module states."""
        return ["-ldflags", f"-s -w {self.ldflags}".strip()]

    def title(self, names: Sequence[str]) -> str:
        """Return what is built of the module, in words."""
        binaries = "" if list(names) == [self.name] else f" ({', '.join(names)})"
        return f"{self.name} {self.version}{binaries}"

    def accepts(self, found: Version) -> bool:
        """Whether a binary of version ``found`` may be used instead of the pinned one."""
        pinned = parse_version(self.version) or (0, 0, 0)
        if self.oldest is None:
            return found[:2] == pinned[:2]
        newest = (pinned[0], 10**6) if self.newest_major_only else pinned[:2]
        return self.oldest <= found[:2] <= newest


@dataclass(frozen=True, kw_only=True)
class Manifests:
    """One module of ``tools/crds/modules.txt`` and its files; ``verbatim`` files are copied as they are."""

    name: str
    module: str
    version: str
    sum: str
    files: tuple[str, ...] = field(default=())
    verbatim: bool = False

    @property
    def at(self) -> str:
        """The module with its version, as the compiler takes it."""
        return f"{self.module}@{self.version}"


def modules(pins: Path) -> dict[str, Module]:
    """Return the modules that build binaries, by folder name."""
    pulumi = _pinned(pins, "pulumi", "github.com/pulumi/pulumi/pkg/v3")
    kubernetes = _pinned(pins, "kubernetes", "k8s.io/kubernetes")
    components = ("kube-scheduler", "kube-apiserver", "kube-controller-manager")  # what the first needs, all need
    found = (
        Module(
            name="pulumi",
            version=pulumi,
            packages={"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"},
            ldflags=f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version={pulumi}",
            version_arguments=("version",),
            oldest=(3, 200),  # what the Automation API of the pinned SDK was tried with
            newest_major_only=True,
        ),
        Module(
            name="kubernetes",
            version=kubernetes,
            packages={name: f"k8s.io/kubernetes/cmd/{name}" for name in components},
            ldflags=f"-X k8s.io/component-base/version.gitVersion={kubernetes}",
        ),
        Module(
            name="etcd",
            version=_pinned(pins, "etcd", "go.etcd.io/etcd/server/v3"),
            packages={"etcd": "go.etcd.io/etcd/server/v3"},
            oldest=(3, 6),  # what the envtest archives of the pinned Kubernetes ship
        ),
        Module(
            name="kwok", version=_pinned(pins, "kwok", "sigs.k8s.io/kwok"),
            packages={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        ),
        Module(
            name="karpenter",
            version=_pinned(pins, "karpenter", "sigs.k8s.io/karpenter"),
            packages={"karpenter-kwok": "sigs.k8s.io/karpenter/kwok"},
        ),
        Module(
            name="promtool",
            version=_pinned(pins, "promtool", "github.com/prometheus/prometheus"),
            packages={"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
        ),
    )  # fmt: skip
    return {module.name: module for module in found}


def manifest_modules(pins: Path) -> tuple[Manifests, ...]:
    """Return the modules of ``crds/modules.txt`` in the order of the file."""
    found: list[Manifests] = []
    for line in _read(pins / "crds" / "modules.txt").splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if line[0].isspace():
            last = found[-1]
            found[-1] = replace(last, files=(*last.files, words[0]))
        else:
            name, module, version, sum_ = words
            found.append(Manifests(name=name, module=module, version=version, sum=sum_, verbatim=name in VERBATIM))
    return tuple(found)


def parse_version(text: str) -> Version | None:
    """Return the first release number in a program's answer."""
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2)), int(found.group(3))) if found else None


def _pinned(pins: Path, folder: str, module: str) -> str:
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", _read(pins / folder / "go.mod"), re.MULTILINE)
    if not found:
        raise ToolError(f"tools/{folder}/go.mod", f"does not require {module}")
    return found.group(1)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise ToolError(
            f"tools/{path.parent.name}/{path.name}",
            f"{error.strerror}",
            way_out="run from a clone of the repository, installed in place (make does it)",
        ) from error
