"""Inside the environment of a peer: a case a line on standard input, a prediction a line on standard output."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import warnings
from dataclasses import asdict
from types import FrameType

from benchmarks.throughput_peers import peer
from benchmarks.throughput_peers.case import Case, answer

POINT_S = 60
"""Longest that a peer may think about one point."""
NICE = 10
"""A peer yields to the fit that runs beside it."""


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer within {POINT_S} s")


def main() -> None:
    """Answer until the input ends; whatever the peer itself prints goes to standard error."""
    os.nice(NICE)
    signal.signal(signal.SIGALRM, _too_long)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    module, answers = peer(sys.argv[1]), sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            signal.alarm(POINT_S)
            said = answer(module, Case(**json.loads(line)))
            signal.alarm(0)
            print(json.dumps(asdict(said)), file=answers, flush=True)


if __name__ == "__main__":
    main()
