"""Small pieces of Markdown: tables and text that cannot break out of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SPECIAL = str.maketrans({"|": "\\|", "<": "&lt;", ">": "&gt;", "`": "'", "\n": " ", "\r": " "})


def safe(value: object) -> str:
    """Return ``value`` as text for a table cell or a sentence."""
    return str(value).translate(SPECIAL)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(safe(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def bullets(lines: Iterable[object]) -> str:
    """Return a list."""
    return "\n".join(f"- {safe(line)}" for line in lines)


def folded(title: str, body: str) -> str:
    """Return ``body`` folded under ``title``."""
    return f"<details><summary>{safe(title)}</summary>\n\n{body}\n\n</details>"
