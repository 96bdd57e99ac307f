"""Inside the environment of a peer: a question a line on standard input, an answer a line on standard output."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import warnings
from dataclasses import asdict

from benchmarks.plan_peers import peer
from benchmarks.plan_peers.question import answer, question_of


def main() -> None:
    """Answer until the input ends; whatever the peer itself prints goes to standard error."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    module, answers = peer(sys.argv[1]), sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            said = answer(module, question_of(json.loads(line)))
            print(json.dumps(asdict(said)), file=answers, flush=True)


if __name__ == "__main__":
    main()
