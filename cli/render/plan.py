"""How ``tonnage plan --explain`` looks, and parts of it that the one-screen form uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.render import costs
from cli.render.parts.common import grid, heading, machine, middle_and_high, three, three_usd, widths
from cli.render.parts.markdown import bullets, folded, safe
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
HEADS = ("GPU", "instance type", "TP", "replicas", "USD per hour", "per 1M out", "TTFT ms", "TPOT ms", "meets")
SCALING_ROWS = {
    "loss_of_node": "a node is lost",
    "loss_of_zone": "a zone is lost",
    "scaling": "grows by",
    "scale_up_lag_s": "within",
    "start_up_s": "a start takes",
}
MOST_REASONS = 20
CHEAPER = "What would make it cheaper (expected cost of the GPU nodes)"


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What is shown in addition to the document."""

    cheaper: tuple[tuple[str, str], ...]
    """(change, what it saves)"""
    warnings: tuple[str, ...]


def text(document: Document, notes: Notes) -> RenderableType:
    """Return the choice with its reasons, the alternatives and why the others lost."""
    chosen = document["chosen"]
    parts: list[RenderableType] = [
        Text(sentence(document), style="bold green"),
        Text(command_line(document), style="dim"),
        *(Text(f"workload: {one['value']}", style="dim") for one in chosen["explanation"] if one["name"] == "trace"),
        Text(latency(document)),
        heading("Choice and alternatives (replicas, USD per hour: floor / expected / ceiling; latency: p50 to p90)"),
        _options(document),
    ]
    parts += notes_text(notes)
    parts += [heading("Losses, growth and start"), _pairs(("what", "says"), scaling_rows(document))]
    trades = trade_rows(document)
    if trades:
        parts += [heading("What the alternatives trade against the choice"), _pairs(("option", "trade"), trades)]
    parts += costs.text(document)
    lost = reasons(document)
    if lost:
        parts += [heading("Why the others lost"), _pairs(("option", "reason"), lost[:MOST_REASONS])]
    left = len(lost) - MOST_REASONS
    if left > 0:
        parts.append(Text(f"and {left} other reasons: --format json", style="dim"))
    return Group(*parts)


def sentence(document: Document) -> str:
    """Return the choice as one sentence."""
    chosen = document["chosen"]
    replicas, hourly = chosen["replicas"], chosen["usd_per_hour"]
    return (
        f"{machine(chosen)}: {replicas['expected']} replica{'s' if replicas['expected'] != 1 else ''} expected, "
        f"at most {replicas['ceiling']}; "
        f"${hourly['expected']:,.2f} an hour expected, at most ${hourly['ceiling']:,.2f}"
    )


def p95s(option: Document) -> tuple[str, str]:
    """Return TTFT and TPOT of an option at the 95th percentile, in milliseconds."""
    found = {figure["name"]: figure["value"] for figure in option["explanation"]}
    return f"{found['ttft_p95_ms']:,.0f}", f"{found['tpot_p95_ms']:,.1f}"


def latency(document: Document) -> str:
    """Return the predicted latencies of the choice and the objectives."""
    wanted, (ttft, tpot) = document["inputs"]["objectives"], p95s(document["chosen"])
    return (
        f"TTFT p95 {ttft} ms of {wanted['ttft_p95_ms']:,g} ms allowed, "
        f"TPOT p95 {tpot} ms of {wanted['tpot_p95_ms']:,g} ms: {'met' if document['chosen']['meets'] else 'missed'}"
    )


def notes_text(notes: Notes) -> list[RenderableType]:
    """Return what would be cheaper and what to be warned of."""
    parts: list[RenderableType] = []
    if notes.cheaper:
        table = grid(("", ""))
        table.show_header = False
        for change, words in notes.cheaper:
            table.add_row(Text(change), Text(words, style="dim"))
        parts += [heading(CHEAPER), table]
    if notes.warnings:
        parts += [heading("Warnings"), *(Text(f"- {line}", style="yellow") for line in notes.warnings)]
    return parts


def notes_markdown(notes: Notes) -> list[str]:
    """Return the same for a comment."""
    parts = []
    if notes.cheaper:
        parts += [CHEAPER + ":", bullets(f"{change}: {words}" for change, words in notes.cheaper)]
    if notes.warnings:
        parts += ["Warnings:", bullets(notes.warnings)]
    return parts


def command_line(document: Document) -> str:
    """Return the command that starts one replica of the choice."""
    chosen = document["chosen"]
    return " ".join(("vllm serve", chosen["model"], *chosen["engine_args"]))


def option_rows(document: Document) -> list[tuple[str, ...]]:
    """Return the choice and its alternatives as rows under ``HEADS``."""
    return [
        (
            option["gpu"] + _checkpoint(option, document),
            option["instance_type"],
            widths(option),
            three(option["replicas"]),
            three_usd(option["usd_per_hour"]),
            f"{option['usd_per_million_output_tokens']:.2f}",
            middle_and_high(option["ttft_ms"]),
            middle_and_high(option["tpot_ms"], 1),
            "yes" if option["meets"] else "no",
        )
        for option in (document["chosen"], *document["alternatives"])
    ]


def _checkpoint(option: Document, document: Document) -> str:
    """Name the checkpoint where it is not the one that was asked for."""
    name = str(option["model"])
    return "" if name == document["inputs"]["model"] else f", {name.rpartition('/')[2]}"


def scaling_rows(document: Document) -> list[tuple[str, str]]:
    """Return (name, sentence) for failures, autoscaling and start-up time."""
    figures = {figure["name"]: figure for figure in document["chosen"]["explanation"]}
    return [
        (title, f"{figures[name]['value']} {figures[name]['unit']}".strip())
        for name, title in SCALING_ROWS.items()
        if name in figures
    ]


def _options(document: Document) -> Table:
    table = grid(HEADS, right=("TP", "per 1M out"))
    for index, row in enumerate(option_rows(document)):
        table.add_row(*(Text(cell) for cell in row), style="bold" if index == 0 else "")
    return table


def reasons(document: Document) -> list[tuple[str, str]]:
    """Return (options, reason): options rejected for the same reason together, in the order of the document."""
    options: dict[str, list[str]] = {}
    for row in document["rejected"]:
        options.setdefault(row["reason"], []).append(row["option"])
    return [(names[0] + (f" and {len(names) - 1} more" if names[1:] else ""), why) for why, names in options.items()]


def trade_rows(document: Document) -> list[tuple[str, str]]:
    """Return (option, how it differs from the choice) for each alternative."""
    return [
        (f"{option['gpu']} TP{widths(option)} on {option['instance_type']}", ", ".join(option["trades"]))
        for option in document["alternatives"]
    ]


def _pairs(heads: tuple[str, str], rows: list[tuple[str, str]]) -> Table:
    table = grid(heads)
    for option, words in rows:
        table.add_row(Text(option), Text(words, style="dim"))
    return table


def markdown(document: Document, notes: Notes) -> str:
    """Return the same for a comment, with the lost options folded."""
    lost = [(row["option"], row["reason"]) for row in document["rejected"]]
    parts = [f"**{sentence(document)}**", safe(latency(document)), markdown_table(HEADS, option_rows(document))]
    parts += notes_markdown(notes)
    if trades := trade_rows(document):
        parts.append(markdown_table(("option", "what it trades against the choice"), trades))
    parts.append(markdown_table(("losses, growth and start", "says"), scaling_rows(document)))
    parts += costs.markdown(document)
    if lost:
        parts.append(folded(f"Why {len(lost)} others lost", markdown_table(("option", "reason"), lost)))
    return "\n\n".join(parts)
