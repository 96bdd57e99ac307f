"""Inside the environment of a peer: a case a line on standard input, a prediction a line on standard output."""

from __future__ import annotations

import sys

from benchmarks.memory.peers import peer
from benchmarks.memory.peers.answer import answer
from benchmarks.memory.peers.case import Case
from benchmarks.peers import serve


def main() -> None:
    """Answer until the input ends."""
    module = peer(sys.argv[1])
    serve(lambda document: answer(module, Case(**document)))


if __name__ == "__main__":
    main()
