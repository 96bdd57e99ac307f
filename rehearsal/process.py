"""Child processes that cannot outlive the rehearsal.

Three safeguards, each for what the one before misses: leaving the ``Supervisor`` ends what it started and every process
with the mark of its run; a parent-death signal ends the children when this process is killed; the next run removes
what is left. A run owns only processes with its own mark, so parallel rehearsals do not interfere.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.errors import RehearsalFailed

MARK = "TONNAGE_REHEARSAL_RUN"
"""Environment variable that every process of a run inherits; its value is the run folder."""
PREFIX = "tonnage-rehearsal-"
_OWNER = "owner.json"
_NAME = re.compile(rf"^{PREFIX}(\d+)-")
_TELLING = re.compile(r"^[EF]\d{4} |error|fatal|panic|no space left|already in use", re.IGNORECASE)
_GUARD = (  # runs in a fresh interpreter: ask for SIGKILL when the parent dies, then become the command
    "import ctypes,os,sys;"
    "ctypes.CDLL(None).prctl(1,9,0,0,0) if sys.platform=='linux' else None;"
    "os._exit(1) if os.getppid()!=int(sys.argv[1]) else os.execvp(sys.argv[2],sys.argv[2:])"
)


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago; callers retry when it got taken between."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def guarded(command: Sequence[str | Path]) -> list[str]:
    """Return ``command`` wrapped so that it gets SIGKILL when the thread that starts it ends (Linux)."""
    return [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *map(str, command)]


@dataclass(frozen=True)
class Child:
    """One started process and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_line(self) -> str:
        """Return the last log line that reports an error, else the last one, or ``no output``."""
        with contextlib.suppress(OSError):
            lines = self.log.read_bytes()[-8192:].decode(errors="replace").splitlines()
            lines = [line.strip() for line in lines if line.strip()]
            telling = [line for line in lines[-20:] if _TELLING.search(line)]
            if lines:
                return (telling or lines)[-1][:400]
        return "no output"


class Supervisor:
    """Context manager: a run folder (0700) and the processes started in it; leaving it ends and removes all.

    ``run_dir`` is ``tonnage-rehearsal-<pid>-...`` below the temporary folder; ``run_dir/bin`` holds shims,
    ``run_dir/logs`` one file a process. Entering sweeps what killed rehearsals left. Raises ``RehearsalFailed``
    when the folder cannot be made (disk full, not writable).
    """

    run_dir: Path

    def __init__(self, *, temp_root: Path | None = None) -> None:
        """``temp_root``: where run folders go; the temporary folder of the system when absent."""
        self._temp_root = temp_root or Path(tempfile.gettempdir())
        self._children: list[Child] = []
        self._spawner = _Spawner()
        self._handlers: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Supervisor:
        """Remove leftovers, make the run folder, record its owner; SIGTERM and SIGHUP now raise instead of ending."""
        sweep(self._temp_root)
        with disk_errors("run folder"):
            self.run_dir = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=self._temp_root))
            try:
                self._sign()
            except OSError:
                shutil.rmtree(self.run_dir, ignore_errors=True)
                raise
        self._handlers = _handle(_unwind, signal.SIGTERM, signal.SIGHUP)
        return self

    def __exit__(self, *_: object) -> None:
        """End every process of the run, remove the run folder; a signal meanwhile does not stop that."""
        interrupt = _handle(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        try:
            self.stop()
            self._spawner.close()
            shutil.rmtree(self.run_dir, ignore_errors=True)
        finally:
            for number, handler in {**interrupt, **self._handlers}.items():
                signal.signal(number, handler)

    def _sign(self) -> None:
        owner = {"pid": os.getpid(), "started": _start_time(os.getpid())}
        (self.run_dir / _OWNER).write_text(json.dumps(owner))
        for folder in ("bin", "logs"):
            (self.run_dir / folder).mkdir()

    def environment(self) -> dict[str, str]:
        """Return the variable that marks what the engine starts, so that ``stop`` and ``sweep`` find it."""
        return {MARK: str(self.run_dir)}

    def start(self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Child:
        """Start ``command`` in a session of its own, output to ``run_dir/logs/<name>.log``.

        ``env`` is the whole environment (the current one when absent); the mark of the run is added.
        """
        log = self.run_dir / "logs" / f"{name}.log"
        full = {**(os.environ if env is None else env), **self.environment()}
        with disk_errors(name), log.open("ab") as output:
            process = self._spawner.run(
                lambda: subprocess.Popen(
                    guarded(command),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=full,
                    cwd=self.run_dir,
                    start_new_session=True,
                )
            )
        child = Child(name, process, log)
        self._children.append(child)
        return child

    def check(self) -> None:
        """Raise ``RehearsalFailed`` naming the process and its last log line when one has died."""
        for child in self._children:
            code = child.process.poll()
            if code is not None:
                raise RehearsalFailed(child.name, f"stopped ({_why(code)}): {child.last_line()}")

    def wait_for(self, name: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Poll ``ready`` until it holds; raise with the last log line when a process dies or ``timeout_s`` passes."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                last = next((child.last_line() for child in self._children if child.name == name), "no output")
                raise RehearsalFailed(name, f"not ready; last log line: {last}", limit=f"{timeout_s:.0f} s")
            time.sleep(0.05)

    def shim(self, name: str, binary: Path) -> Path:
        """Write ``run_dir/bin/<name>``, an executable that runs ``binary`` and dies with its parent process."""
        path = self.run_dir / "bin" / name
        words = guarded([binary])
        words[words.index(str(os.getpid()))] = "$PPID"
        quoted = " ".join('"$PPID"' if word == "$PPID" else shlex.quote(word) for word in words)
        path.write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
        path.chmod(0o700)
        return path

    def forget(self, child: Child) -> None:
        """End one process and stop watching it."""
        self._children.remove(child)
        _kill_group(child.process)

    def stop(self) -> None:
        """Kill every process of the run, the youngest first; their state is not needed."""
        while self._children:
            _kill_group(self._children.pop().process)
        kill_marked(self.run_dir)


class _Spawner:
    """A thread that starts processes: the parent-death signal follows the thread that forked, not the process."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="spawner", daemon=True)
            self._thread.start()
        answer: queue.SimpleQueue[subprocess.Popen[bytes] | BaseException] = queue.SimpleQueue()

        def job() -> None:
            try:
                answer.put(start())
            except BaseException as error:
                answer.put(error)

        self._jobs.put(job)
        result = answer.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


@contextlib.contextmanager
def disk_errors(where: str) -> Generator[None, None, None]:
    """Turn an ``OSError`` into one line, with what to do when the disk is full."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise RehearsalFailed(
            where,
            f"{error.strerror or error}: {error.filename or ''}".rstrip(": "),
            way_out="free some disk space, or point TMPDIR elsewhere" if full else "",
        ) from error


def sweep(temp_root: Path | None = None) -> list[str]:
    """Remove what rehearsals whose command was killed left: their processes and run folders, and only those.

    A run whose owner (process id and start time) lives is not touched. Returns one line per removed run.
    """
    lines = []
    for run_dir in sorted((temp_root or Path(tempfile.gettempdir())).glob(f"{PREFIX}*")):
        if _abandoned(run_dir):
            killed = kill_marked(run_dir)
            shutil.rmtree(run_dir, ignore_errors=True)
            lines.append(f"removed what an earlier rehearsal left: {run_dir.name}, {killed} process(es)")
    return lines


def kill_marked(run_dir: Path) -> int:
    """SIGKILL every process (but this one) that carries the mark of ``run_dir``; return how many there were."""
    mark = f"{MARK}={run_dir}".encode()
    killed: set[int] = set()
    for _ in range(20):
        alive = [pid for pid in _processes() if pid != os.getpid() and mark in _environ(pid)]
        if not alive:
            break
        for pid in alive:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return len(killed)


def marked(run_dir: Path) -> list[str]:
    """Return ``pid command`` of every living process of a run, this one excluded (for the leftover check)."""
    mark = f"{MARK}={run_dir}".encode()
    pids = [pid for pid in _processes() if pid != os.getpid() and mark in _environ(pid)]
    return [f"{pid} {_command(pid)}" for pid in pids]


def _abandoned(run_dir: Path) -> bool:
    """Whether a run folder is ours and its owner is gone."""
    name = _NAME.match(run_dir.name)
    try:
        status = run_dir.lstat()
        if not name or run_dir.is_symlink() or not run_dir.is_dir() or status.st_uid != os.getuid():
            return False
        owner = json.loads((run_dir / _OWNER).read_text())
        pid, started = int(owner["pid"]), str(owner["started"])
    except (OSError, ValueError, KeyError, TypeError):
        # killed between making the folder and signing it: the name still says whose it is
        return name is not None and run_dir.is_dir() and not _start_time(int(name.group(1)))
    return _start_time(pid) != started


def _start_time(pid: int) -> str:
    """Return when a process started, in a form that only compares; empty when there is none."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "" if fields[0] in "ZX" else fields[19]
    if sys.platform == "linux":
        return ""
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return found.stdout.strip()


def _processes() -> list[int]:
    proc = Path("/proc")
    return sorted(int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()) if proc.is_dir() else []


def _environ(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:120]
    return "?"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def _handle(handler: Any, *numbers: signal.Signals) -> dict[signal.Signals, Any]:
    """Set a signal handler and return the former ones; only the main thread may, elsewhere nothing happens."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in numbers}


def _unwind(number: int, _frame: Any) -> None:
    sys.exit(128 + number)


def _why(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
