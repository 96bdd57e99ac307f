"""Inside the environment of a peer: a question a line on standard input, an answer a line on standard output."""

from __future__ import annotations

import sys

from benchmarks.peers import serve
from benchmarks.plans.peers import peer
from benchmarks.plans.peers.question import answer, question_of


def main() -> None:
    """Answer until the input ends."""
    module = peer(sys.argv[1])
    serve(lambda document: answer(module, question_of(document)))


if __name__ == "__main__":
    main()
