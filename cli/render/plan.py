"""How ``tonnage plan`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.render import costs
from cli.render.common import grid, heading, machine, middle_and_high, three, three_usd, widths
from cli.render.markdown import folded
from cli.render.markdown import table as markdown_table

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


def text(document: Document) -> RenderableType:
    """Return the choice with its reasons, the alternatives and why the others lost."""
    chosen = document["chosen"]
    parts: list[RenderableType] = [
        Text(sentence(document), style="bold green"),
        Text(command_line(document), style="dim"),
        *(Text(f"workload: {one['value']}", style="dim") for one in chosen["explanation"] if one["name"] == "trace"),
        heading("Choice and alternatives (replicas, USD per hour: floor / expected / ceiling; latency: p50 to p90)"),
        _options(document),
    ]
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
    """Return (what, sentence) of what a loss does, how replicas grow with the traffic, and how long a start takes."""
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
    """Return (options, reason): options that lost for the same reason together, in the order of the document."""
    options: dict[str, list[str]] = {}
    for row in document["rejected"]:
        options.setdefault(row["reason"], []).append(row["option"])
    return [(names[0] + (f" and {len(names) - 1} more" if names[1:] else ""), why) for why, names in options.items()]


def trade_rows(document: Document) -> list[tuple[str, str]]:
    """Return (option, what it gives and takes beside the choice) for each alternative."""
    return [
        (f"{option['gpu']} TP{widths(option)} on {option['instance_type']}", ", ".join(option["trades"]))
        for option in document["alternatives"]
    ]


def _pairs(heads: tuple[str, str], rows: list[tuple[str, str]]) -> Table:
    table = grid(heads)
    for option, words in rows:
        table.add_row(Text(option), Text(words, style="dim"))
    return table


def markdown(document: Document) -> str:
    """Return the same for a comment, with the lost options folded."""
    lost = [(row["option"], row["reason"]) for row in document["rejected"]]
    parts = [f"**{sentence(document)}**", markdown_table(HEADS, option_rows(document))]
    if trades := trade_rows(document):
        parts.append(markdown_table(("option", "what it trades against the choice"), trades))
    parts.append(markdown_table(("losses, growth and start", "says"), scaling_rows(document)))
    parts += costs.markdown(document)
    if lost:
        parts.append(folded(f"Why {len(lost)} others lost", markdown_table(("option", "reason"), lost)))
    return "\n\n".join(parts)
