"""preStop: keep serving while the gateway learns that this replica leaves.

Kubernetes removes the endpoint and runs this at the same time; only when it ends does the engine get SIGTERM,
stop taking requests and finish those that run (``--shutdown-timeout``). Ending early would cut connections that
the gateway still opens.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from .document import BadDocument, load
from .engine_api import UNREACHABLE, call, in_flight

CONTAINER_LOG = Path("/proc/1/fd/2")
"""Where a hook has to write for its lines to be in the container's log."""


def _in_flight() -> int | None:
    try:
        return in_flight(call("/metrics", timeout_s=2.0).decode())
    except UNREACHABLE:
        return None


def _note(line: dict[str, object]) -> None:
    text = json.dumps(line, sort_keys=True) + "\n"
    try:
        with CONTAINER_LOG.open("a", encoding="utf-8") as log:
            log.write(text)
    except OSError:
        sys.stderr.write(text)


def main() -> int:
    """Wait the planned seconds; note how many requests were in flight before and after."""
    try:
        seconds = load().pre_stop_s
    except BadDocument as error:
        print(error, file=sys.stderr)
        return 2
    before = _in_flight()
    time.sleep(seconds)
    _note({"event": "drain", "in_flight_after": _in_flight(), "in_flight_before": before, "seconds": seconds})
    return 0


if __name__ == "__main__":
    sys.exit(main())
