"""How a preview shows what an upgrade costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from cli.render.parts.common import grid, heading
from cli.render.parts.markdown import folded
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
TITLE = "What an upgrade costs"
HEADS = ("upgrade", "model", "GPU-minutes lost", "serving meanwhile")


def rows(document: Document) -> list[tuple[str, ...]]:
    """Return (kind, model, lost capacity, least replicas of all) of each upgrade that replaces replicas."""
    return [
        (one["kind"], one["model"], f"{one['gpu_minutes']:g}", f"{one['serving']} of {one['replicas']}")
        for one in document.get("upgrades") or []
    ]


def text(document: Document) -> list[RenderableType]:
    """Return the table under its heading, nothing where no model is served."""
    found = rows(document)
    table = grid(HEADS, right=("GPU-minutes lost",))
    for row in found:
        table.add_row(*(Text(cell) for cell in row))
    return [heading(TITLE), table] if found else []


def markdown(document: Document) -> list[str]:
    """Return the same, folded."""
    found = rows(document)
    return [folded(TITLE, markdown_table(HEADS, found))] if found else []
