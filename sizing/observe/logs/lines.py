"""Text of a log from its bytes: bounded lines, without colours, progress bars and wrappers.

A log arrives as chunks of any size and leaves as lines of at most 64 KiB, in constant memory. Carriage returns end a
line as well (progress bars, Windows). Lines of JSON are replaced by the message they hold. Zero bytes mean that this is
no text; UTF-16 with a mark, as some shells write it, is.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator

from sizing.errors import BadInput

LONGEST_LINE = 64 * 1024
"""Characters of a line that are kept; the rest is dropped."""
LARGEST_LOG_BYTES = 256 << 20
MOST_LINES = 4_000_000
"""Lines that hold anything; empty ones, as between a carriage return and a line feed, do not count."""
MESSAGE_KEYS = ("message", "msg", "log", "text", "textPayload", "body", "MESSAGE", "line", "event")
"""Where structured logs keep the line, by collector: vLLM and most, Docker, Cloud Logging, OpenTelemetry, journald."""
UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]{0,24}[@-~]|[@-Z\\-_])")
WHERE = "log"


def log_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines in ``chunks``; BadInput for zero bytes, or beyond 256 MiB or four million lines."""
    filled = (line for line in _split(_decoded(chunks)) if line)
    for number, line in enumerate(filled):
        if number >= MOST_LINES:
            raise BadInput(WHERE, "the log is too long", limit=f"{MOST_LINES} lines", way_out="keep the start-up only")
        text = ESCAPES.sub("", line) if "\x1b" in line else line
        if text.lstrip()[:1] == "{":
            yield from _messages(text)
        else:
            yield text


def _decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    decoder, total = None, 0
    for chunk in chunks:
        total += len(chunk)
        if total > LARGEST_LOG_BYTES:
            problem = "the log is too large"
            raise BadInput(WHERE, problem, limit=f"{LARGEST_LOG_BYTES >> 20} MiB", way_out="keep the start-up only")
        if decoder is None:
            decoder = codecs.getincrementaldecoder(UTF16.get(chunk[:2], "utf-8"))("replace")
        text = decoder.decode(chunk)
        if "\0" in text:
            raise BadInput(WHERE, "holds zero bytes: not text", way_out="decompress it, or give the text log")
        yield text


def _split(texts: Iterable[str]) -> Iterator[str]:
    """Yield lines cut at the limit; what follows the cut is dropped up to the next end of line."""
    held = ""
    for text in texts:
        parts = _ends(held + text).split("\n")
        held = parts.pop()[:LONGEST_LINE]
        for part in parts:
            yield part[:LONGEST_LINE]
    yield held


def _ends(text: str) -> str:
    return text.replace("\r", "\n") if "\r" in text else text


def _messages(text: str) -> Iterator[str]:
    """Yield the lines of the message that a JSON object holds, or the text itself when it holds none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    message = _message(found) if isinstance(found, dict) else None
    if message is None:
        yield text
    else:
        clean = ESCAPES.sub("", message)
        yield from (line for line in _ends(clean).split("\n") if line)


def _message(record: dict[str, object]) -> str | None:
    for key in MESSAGE_KEYS:
        value = record.get(key)
        if isinstance(value, str):
            return value
        if isinstance(value, dict) and isinstance(value.get("stringValue"), str):
            return str(value["stringValue"])
    return None
