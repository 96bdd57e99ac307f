"""The list that ends every preview: what must be settled before ``pulumi up``, each with the command that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cli.render.parts.common import heading

Document = Mapping[str, Any]
HEADS = ("", "stack", "key", "says", "settle with")
STOPS, NOTE = "stops up", "to do"


def title(document: Document) -> str:
    """Return the title of the list with how many of it stop an ``up``."""
    steps = document["before_up"]
    stopping = sum(step["stops"] for step in steps)
    return f"Before you run up: {stopping} of {len(steps)} stop it"


def rows(document: Document) -> list[tuple[str, str, str, str, str]]:
    """Return one row for each step: whether it stops an ``up``, where, why, and what settles it."""
    return [
        (STOPS if step["stops"] else NOTE, step["stack"], step["key"], step["says"], step["settle"])
        for step in document["before_up"]
    ]


def text(document: Document) -> list[RenderableType]:
    """Return the list for a terminal; what settles a step begins on a line of its own, so that it can be copied."""
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for kind, stack, key, says, settle in rows(document):
        lines.add_row(Text(kind, style="bold red" if kind == STOPS else "yellow"), Text(f"{stack} {key}: {says}"))
        lines.add_row("", Text(settle, style="dim"))
    return [heading(title(document)), lines]
