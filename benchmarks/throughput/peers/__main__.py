"""Inside the environment of a peer: a case a line on standard input, a prediction a line on standard output."""

from __future__ import annotations

import sys

from benchmarks.peers import serve
from benchmarks.throughput.peers import peer
from benchmarks.throughput.peers.case import Case, answer


def main() -> None:
    """Answer until the input ends."""
    module = peer(sys.argv[1])
    serve(lambda document: answer(module, Case(**document)))


if __name__ == "__main__":
    main()
