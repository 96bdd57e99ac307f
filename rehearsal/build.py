"""Builds pinned Go tools and unpacks pinned manifests into a cache, once.

A cache folder is named after a hash of what decides its content, so that a second call does nothing and a raised
version never uses an old binary. A build runs in a temporary folder next to it under one lock and is then renamed. What
the compiler itself writes is in ``COMPILER`` next to the tools and is removed once all are built.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
import zipfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import yaml

from rehearsal.compiler import OPTIONS, REMOVED, STANDARD_LIBRARY, Compiler, discard, remedy, remove, scratch, writing
from rehearsal.errors import ToolError
from rehearsal.expected import MANIFESTS
from rehearsal.toolset import Manifests, Module, Progress

COMPILER = ".compiler"


class Builder:
    """Fills the cache. ``pins`` is the repository's ``tools/`` folder."""

    def __init__(self, pins: Path, progress: Progress, environ: Mapping[str, str] | None = None) -> None:
        """``environ``: what decides the cache folder and the compiler; the process environment when absent."""
        self.pins = pins
        self.progress = progress
        self.environ = dict(os.environ if environ is None else environ)
        self.cache = cache_folder(self.environ, fallback=pins.parent / ".cache")
        self.compiler = Compiler(self.cache / COMPILER, pins, progress, self.environ)
        self.total = 0  # binaries to build, where a caller knows
        self.built = 0

    def missing(self, module: Module, wanted: Sequence[str]) -> list[str]:
        """Return those of the ``wanted`` binaries of a module that the cache lacks."""
        folder = self._folder(module)
        return [name for name in wanted if not (folder / name).is_file()]

    def binaries(self, module: Module, wanted: Sequence[str]) -> dict[str, Path]:
        """Return the paths of ``wanted`` binaries of a module, building those that the cache lacks."""
        if self.missing(module, wanted):
            with self._locked():
                if missing := self.missing(module, wanted):
                    self._build(module, missing)
        return {name: self._folder(module) / name for name in wanted}

    def lacks(self, source: Manifests) -> bool:
        """Whether the files of a manifest module have yet to be fetched."""
        return not self._manifest_folder(source).is_dir()

    def manifests(self, source: Manifests) -> tuple[Path, ...]:
        """Return the files of a manifest module: as they are, or definitions as JSON (fast to read)."""
        folder = self._manifest_folder(source)
        if self.lacks(source):
            with self._locked():
                if self.lacks(source):
                    self._unpack(source, folder)
        return tuple(folder / _target_name(source, file) for file in source.files)

    def clear(self) -> None:
        """Remove what only building needed; another process that still builds removes it itself."""
        for interrupted in self.cache.glob(f"{REMOVED}*"):
            remove(interrupted)
        if self.compiler.folder.is_dir():
            with contextlib.suppress(BlockingIOError), self._locked(wait=False):
                self.compiler.clear()

    def _build(self, module: Module, names: Sequence[str]) -> None:
        """Build one binary after the other: in parallel, temporary files would need half as much disk again."""
        go = self.compiler.go()
        folder = self._folder(module)
        home = self.pins / module.name
        self.compiler.standard_library(f"compiling the {STANDARD_LIBRARY} of Go, which all tools share", cwd=home)
        for name in names:
            self.built += 1
            label = f"building {name} {module.version}" + (f", {self.built} of {self.total}" if self.total else "")
            with scratch(self.cache) as temporary:
                package = module.packages[name]
                command = [go, "build", *OPTIONS, *module.ldflags_option(), "-o", temporary / name, package]
                self.compiler.run(command, cwd=home, label=label, work=module.name)
                with writing(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    (temporary / name).replace(folder / name)
        self.compiler.forget(module.name)

    def _unpack(self, source: Manifests, folder: Path) -> None:
        label = f"fetching {source.name} {source.version} ({MANIFESTS})"
        with scratch(self.cache) as temporary:
            archive = self._download(source, temporary, label)
            done = temporary / "done"
            with writing(folder), zipfile.ZipFile(archive) as members:
                done.mkdir()
                for file in source.files:
                    raw = Path(members.extract(f"{source.at}/{file}", temporary / "raw"))
                    _convert(raw, done / _target_name(source, file))
                done.rename(folder)
        discard(self.compiler.folder / "modules" / MANIFESTS, beside=self.compiler.folder)

    def _download(self, source: Manifests, temporary: Path, label: str) -> Path:
        """Return the archive of a module, by its pinned hash.

        The archive and not the unpacked folder: the compiler refuses to unpack a module that asks for a newer
        compiler, and nothing of it is compiled here.
        """
        command = [self.compiler.go(), "mod", "download", "-json", source.at]
        printed = self.compiler.run(command, cwd=temporary, label=label, work=MANIFESTS, flags="", check=False)
        found = json.loads(printed)
        if "Zip" not in found:
            raise ToolError(label, found.get("Error", "no archive"), way_out=remedy(found.get("Error", "")))
        if found["Sum"] != source.sum:
            raise ToolError(source.at, f"hash {found['Sum']} is not the pinned one", limit=source.sum)
        return Path(found["Zip"])

    def _folder(self, module: Module) -> Path:
        return self.cache / f"{module.name}-{self._key(module)}"

    def _manifest_folder(self, source: Manifests) -> Path:
        return self.cache / f"manifests-{source.name}-{hashlib.sha256(repr(source).encode()).hexdigest()[:12]}"

    def _key(self, module: Module) -> str:
        folder = self.pins / module.name
        digest = hashlib.sha256()
        for part in (folder / "go.mod", folder / "go.sum"):
            digest.update(part.read_bytes())
        digest.update(f"{module.ldflags} CGO_ENABLED=0 {sys.platform} {platform.machine()}".encode())
        return digest.hexdigest()[:12]

    @contextlib.contextmanager
    def _locked(self, *, wait: bool = True) -> Generator[None, None, None]:
        """Hold the build lock; another process waits and then finds the binaries built (or BlockingIOError)."""
        with writing(self.cache):
            self.cache.mkdir(parents=True, exist_ok=True)
            handle = (self.cache / ".lock").open("w")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise
                self.progress("waiting for another process that is building the tools")
                fcntl.flock(handle, fcntl.LOCK_EX)
            for folder in (self.cache, self.compiler.folder):
                for stale in folder.glob(".scratch-*"):  # left by a killed build: only one process holds the lock
                    shutil.rmtree(stale, ignore_errors=True)
            yield


def cache_folder(environ: Mapping[str, str], *, fallback: Path) -> Path:
    """Return the folder of built tools: TONNAGE_CACHE, XDG_CACHE_HOME, the home folder, else ``fallback``."""
    if stated := environ.get("TONNAGE_CACHE"):
        return Path(stated).absolute() / "tools"
    if xdg := environ.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "tonnage" / "tools"
    if home := usable_home(environ):
        return home / ".cache" / "tonnage" / "tools"
    return fallback / "tonnage" / "tools"


def usable_home(environ: Mapping[str, str]) -> Path | None:
    """Return the home folder when there is one that can be written to."""
    home = environ.get("HOME", "")
    return Path(home) if home and Path(home).is_dir() and os.access(home, os.W_OK) else None


def _convert(source: Path, target: Path) -> None:
    """Copy a manifest; a definition loses its Helm conditions and becomes JSON."""
    text = source.read_text()
    if target.suffix == ".json":
        plain = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("{{"))
        documents = [doc for doc in yaml.load_all(plain, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if doc]
        text = json.dumps(documents[0])
    target.write_text(text)


def _target_name(source: Manifests, file: str) -> str:
    name = Path(file).name
    return name if source.verbatim else f"{Path(name).stem}.json"
