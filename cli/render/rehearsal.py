"""How ``tonnage rehearse`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.parts.common import grid, heading
from cli.render.parts.markdown import folded, safe
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
POD_HEADS = ("stage", "pod", "node", "pool", "buys", "zone")
PENDING_HEADS = ("stage", "pod", "asks for", "missing")
CHECK_HEADS = ("", "check", "found")
STAGE_HEADS = ("stage", "seconds", "detail")


def text(document: Document) -> RenderableType:
    """Return the node of each pod, the verdicts and the checks; the plan was shown before the start."""
    style = "bold green" if document["passed"] else "bold red"
    sections = (
        ("Where each pod landed", POD_HEADS, _pods(document)),
        ("Pending", PENDING_HEADS, _pending(document)),
        ("Checks", CHECK_HEADS, check_rows(document)),
    )
    parts: list[RenderableType] = []
    for title, heads, rows in sections:
        if not rows:
            continue
        table = grid(heads)
        for row in rows:
            table.add_row(*(Text(cell, style="bold red" if cell == "✗" else "") for cell in row))
        parts += [heading(title), table]
    return Group(*parts, Text(), Text(verdict(document), style=style))


def verdict(document: Document) -> str:
    """Return the answer as one sentence."""
    scenario = f" with {document['scenario']}" if document["scenario"] else ""
    seconds = sum(stage["seconds"] for stage in document["stages"])
    if document["passed"]:
        changes = sum(document["second_up"].values())
        return (
            f"{document['stack']}{scenario}: rehearsal passed in {seconds:.0f} s; "
            f"second up changes {changes}, leftovers {len(document['leftovers'])}"
        )
    return f"{document['stack']}{scenario}: rehearsal FAILED: {document['problem']}"


def _pods(document: Document) -> list[tuple[str, ...]]:
    return [
        (
            one["stage"],
            one["pod"],
            one["node"] or "Pending",
            one["pool"],
            f"{one['instance_type']} {one['capacity_type']}".strip(),
            one["zone"],
        )
        for one in document["placements"]
    ]


def _pending(document: Document) -> list[tuple[str, ...]]:
    waiting = [one for one in document["placements"] if not one["node"]]
    return [(one["stage"], one["pod"], one["asks"], one["missing"]) for one in waiting]


def check_rows(document: Document) -> list[tuple[str, str, str]]:
    """Return (mark, question, answer): checks, then policies inside the engine, then what was left behind."""
    rows = [(_mark(one["passed"]), one["name"], one["detail"]) for one in document["checks"]]
    rows += [
        (_mark(one["passed"]), f"policy {one['rule']} on {one['stack']}", one["message"])
        for one in document["policies"]
    ]
    return rows + [("✗", "left behind", one) for one in document["leftovers"]]


def _mark(passed: bool) -> str:
    return "✓" if passed else "✗"


def markdown(document: Document) -> str:
    """Return the same for a comment."""
    stages = [(one["name"], f"{one['seconds']:.1f}", one["detail"]) for one in document["stages"]]
    parts = [f"**{safe(verdict(document))}**", markdown_table(CHECK_HEADS, check_rows(document))]
    if document["placements"]:
        parts.append(folded("Where each pod landed", markdown_table(POD_HEADS, _pods(document))))
    if waiting := _pending(document):
        parts.append(markdown_table(PENDING_HEADS, waiting))
    return "\n\n".join([*parts, folded("Stages", markdown_table(STAGE_HEADS, stages))])
