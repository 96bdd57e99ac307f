"""Inside the environment of a peer: a case a line on standard input, a prediction a line on standard output."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from dataclasses import asdict

from benchmarks.throughput_peers import peer
from benchmarks.throughput_peers.case import Case, answer


def main() -> None:
    """Answer until the input ends; whatever the peer itself prints goes to standard error."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    module, answers = peer(sys.argv[1]), sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            print(json.dumps(asdict(answer(module, Case(**json.loads(line))))), file=answers, flush=True)


if __name__ == "__main__":
    main()
