"""How ``tonnage catalogue refresh`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.parts.common import grid
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
HEADS = ("figure", "was", "is", "change")


def rows(document: Document) -> list[tuple[str, ...]]:
    """Return (figure, was, is, change in percent) of each change."""
    return [
        (one["what"], _shown(one["before"]), _shown(one["after"]), _percent(one["before"], one["after"]))
        for one in document["changes"]
    ]


def sentence(document: Document) -> str:
    """Return the outcome in one line."""
    count, written = len(document["changes"]), document["written"]
    dates = " and ".join(sorted(set(document["previous_dates"].values())))
    return (
        f"{count} figures differ from those of {dates}; "
        + (f"written: {', '.join(written)}" if written else "nothing is written (--dry-run)")
    )  # fmt: skip


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _percent(before: object, after: object) -> str:
    if not isinstance(before, int | float) or not isinstance(after, int | float) or not before:
        return ""
    return f"{(after / before - 1) * 100:+.1f} %"


def text(document: Document) -> RenderableType:
    """Return what changed, old and new side by side."""
    table = grid(HEADS, right=("was", "is", "change"))
    for row in rows(document):
        table.add_row(*(Text(cell) for cell in row))
    return Group(Text(sentence(document), style="bold"), *([table] if document["changes"] else []))


def markdown(document: Document) -> str:
    """Return the same for a pull request."""
    parts = [f"**{sentence(document)}**"]
    return "\n\n".join([*parts, markdown_table(HEADS, rows(document))] if document["changes"] else parts)
