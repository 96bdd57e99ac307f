"""How ``tonnage leftovers`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.parts.common import grid
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
HEADS = ("what", "made by", "remove with")


def rows(document: Document) -> list[tuple[str, ...]]:
    """Return (ARN, who made it, command) of each; without a command it is removed where it was made."""
    return [(one["arn"], one["made_by"], one["remove"] or "its own console") for one in document["left"]]


def sentence(document: Document) -> str:
    """Return the outcome in one line."""
    count = len(document["left"])
    told = f"{count} resources carry its tags" if count else "nothing carries its tags"
    return f"{document['stack']} in {document['region']}: {told}"


def text(document: Document) -> RenderableType:
    """Return what is left, with the command that removes it."""
    table = grid(HEADS)
    for row in rows(document):
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    return Group(Text(sentence(document), style="bold"), *([table] if document["left"] else []))


def markdown(document: Document) -> str:
    """Return the same for a pull request."""
    parts = [f"**{sentence(document)}**"]
    return "\n\n".join([*parts, markdown_table(HEADS, rows(document))] if document["left"] else parts)
