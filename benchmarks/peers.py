"""What every benchmark with peers shares: how a peer is asked in its own environment, how it refuses, who is chosen.

Imported inside the environments of peers, so with the standard library alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

REASON_LENGTH = 100


class Refused(Exception):
    """The peer has no answer to this case; the text says why in a few words."""


def reason_of(error: Exception) -> str:
    """Return why a peer has no answer, in one short line: its own words, or what it raised."""
    text = " ".join(str(error).split())
    return (text if isinstance(error, Refused) else f"{type(error).__name__}: {text}")[:REASON_LENGTH]


def serve(reply: Callable[[Any], DataclassInstance]) -> None:
    """Answer a case a line on standard input with a line on standard output, until the input ends.

    Whatever the peer itself prints goes to standard error.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            print(json.dumps(asdict(reply(json.loads(line)))), file=answers, flush=True)


def parser_of(description: str, peers: Sequence[str], folder: Path, page: str) -> argparse.ArgumentParser:
    """Return the options of a benchmark that asks ``peers`` and writes ``page`` into ``folder``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--peers", default=tuple(peers), help=f"all, none, or some of {','.join(peers)}",
        type=lambda text: () if text == "none" else tuple(peers) if text == "all" else tuple(text.split(",")),
    )  # fmt: skip
    parser.add_argument("--offline", action="store_true", help="use cached environments only")
    parser.add_argument("--out", type=Path, default=folder, help=f"folder of {page}")
    parser.add_argument("--dry-run", dest="out", action="store_const", const=None, help="write nothing")
    return parser
