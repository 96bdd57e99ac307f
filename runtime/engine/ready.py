"""Readiness: the engine answers with its key, and the warm-up has ended. Exit code 0 or 1.

A command instead of an HTTP probe, because vLLM guards ``/v1`` with its key and a probe cannot carry a Secret.
"""

from __future__ import annotations

import argparse
import sys

from .document import ready_marker
from .engine_api import UNREACHABLE, call

TIMEOUT_S = 9.0
"""Below the probe's own limit of 10 s, so that the reason is printed."""


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the replica may have traffic, else 1 with the reason."""
    parser = argparse.ArgumentParser(prog="runtime.ready")
    parser.add_argument("--path", default="/v1/models")
    path = parser.parse_args(arguments).path
    if not ready_marker().exists():
        print("not warmed up yet")
        return 1
    try:
        call(path, timeout_s=TIMEOUT_S)
    except UNREACHABLE as error:
        print(f"{path} does not answer: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
