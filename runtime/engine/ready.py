"""Readiness: the engine answers with its key, the warm-up has ended, no request stands still. Exit code 0 or 1.

A command instead of an HTTP probe, because vLLM guards ``/v1`` with its key and a probe cannot carry a Secret.
"""

from __future__ import annotations

import argparse
import sys
import time

from .document import BadDocument, load, ready_marker
from .engine_api import UNREACHABLE, call
from .progress import standing_still_s

TIMEOUT_S = 9.0
"""Below the probe's own limit of 10 s, so that the reason is printed."""


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when the replica may have traffic, else 1 with the reason."""
    parser = argparse.ArgumentParser(prog="runtime.ready")
    parser.add_argument("--path", default="/v1/models")
    path = parser.parse_args(arguments).path
    deadline = time.monotonic() + TIMEOUT_S
    if not ready_marker().exists():
        print("not warmed up yet")
        return 1
    try:
        call(path, timeout_s=TIMEOUT_S)
    except UNREACHABLE as error:
        print(f"{path} does not answer: {error}")
        return 1
    try:
        still_s = standing_still_s(load(), deadline)
    except BadDocument as error:
        print(error)
        return 1
    if still_s:
        print(f"requests run or wait, but nothing has moved for {still_s:.0f} s and a token is not answered")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
