"""Child processes that cannot outlive the rehearsal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago; callers retry when it got taken between."""
    return 0


def sweep() -> list[str]:
    """Remove what rehearsals whose command was killed left: their processes and run folders, and only those.

    Returns one line per removed run.
    """
    return []


class Supervisor:
    """Context manager: a run folder (0700) and the processes started in it; leaving it ends and removes all.

    ``run_dir``: the folder, ``tonnage-rehearsal-<pid>-...`` below the temporary folder; ``run_dir/bin`` holds shims.
    """

    run_dir: Path

    def start(self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> None:
        """Start ``command`` in a session of its own, output to ``run_dir/logs/<name>.log``."""

    def check(self) -> None:
        """Raise ``RehearsalFailed`` naming the process and its last log line when one has died."""

    def shim(self, name: str, binary: Path) -> Path:
        """Write ``run_dir/bin/<name>``, an executable that runs ``binary`` and dies with this process."""
        return self.run_dir / "bin" / name / binary

    def environment(self) -> dict[str, str]:
        """Environment for a process started by somebody else (the engine), so that the sweep finds it."""
        return {}
