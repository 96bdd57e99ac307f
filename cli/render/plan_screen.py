"""``tonnage plan`` on one screen: choice, bill, latency, the next best, what would be cheaper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render import costs, plan
from cli.render.parts.common import grid, heading, machine, three, three_usd, widths
from cli.render.parts.markdown import bullets, safe
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
ALTERNATIVES = 3
HEADS = (*plan.HEADS[:5], "TTFT p95", "TPOT p95", "meets")
CHOICE = "Choice and alternatives (USD per hour of the GPU nodes; latency in ms)"
REST = "--explain shows losses, growth, trades, the whole bill, spot, terms, hosted APIs and why others lost"


def text(document: Document, notes: plan.Notes) -> RenderableType:
    """Return the answer in at most 30 lines of 100 columns."""
    options = grid(HEADS, right=("TP",))
    for index, row in enumerate(option_rows(document)):
        options.add_row(*(Text(cell) for cell in row), style="bold" if index == 0 else "")
    facts = grid(("", ""))
    facts.show_header = False
    for name, words in fact_rows(document):
        facts.add_row(Text(name, style="dim"), Text(words))
    return Group(
        Text(headline(document), style="bold green"),
        facts,
        heading(CHOICE),
        options,
        *(Text(f"{mark} {name}", style="dim") for mark, name in other_checkpoints(document)),
        *plan.notes_text(notes),
        Text(f"\n{REST}", style="dim"),
    )


def headline(document: Document) -> str:
    """Return the model and what one replica of it runs on."""
    chosen = document["chosen"]
    return f"{chosen['model']} on {machine(chosen)}"


def fact_rows(document: Document) -> list[tuple[str, str]]:
    """Return (name, sentence) of what was chosen."""
    return [
        ("replicas", f"{three(document['chosen']['replicas'])} (floor / expected / ceiling)"),
        ("latency", plan.latency(document)),
        ("bill", costs.bill_line(document)),
        ("cluster", costs.cluster_line(document)),
        ("engine", plan.command_line(document)),
    ]


def option_rows(document: Document) -> list[tuple[str, ...]]:
    """Return the choice and the first alternatives as rows under ``HEADS``; another checkpoint is marked."""
    marks = {name: mark for mark, name in other_checkpoints(document)}
    return [
        (
            option["gpu"] + marks.get(option["model"], ""),
            option["instance_type"],
            widths(option),
            three(option["replicas"]),
            three_usd(option["usd_per_hour"]),
            *plan.p95s(option),
            "yes" if option["meets"] else "no",
        )
        for option in _shown(document)
    ]


def other_checkpoints(document: Document) -> list[tuple[str, str]]:
    """Return (mark, name) of each checkpoint shown that is not the one that was asked for."""
    names = dict.fromkeys(option["model"] for option in _shown(document))
    others = [name for name in names if name != document["inputs"]["model"]]
    return [("*" * count, name) for count, name in enumerate(others, start=1)]


def _shown(document: Document) -> tuple[Document, ...]:
    return (document["chosen"], *document["alternatives"][:ALTERNATIVES])


def markdown(document: Document, notes: plan.Notes) -> str:
    """Return the same for a comment."""
    return "\n\n".join(
        (
            f"**{safe(headline(document))}**",
            bullets(f"{name}: {words}" for name, words in fact_rows(document)),
            CHOICE + ":",
            markdown_table(HEADS, option_rows(document)),
            *(f"{safe(mark)} {safe(name)}" for mark, name in other_checkpoints(document)),
            *plan.notes_markdown(notes),
            f"`--explain`{REST.removeprefix('--explain')}",
        )
    )
