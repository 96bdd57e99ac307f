"""How ``tonnage throughput`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.parts.common import grid
from cli.render.parts.markdown import folded
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
MEASURES = (
    ("output_tokens_per_s", "output tokens per second"),
    ("ttft_ms", "time to first token, ms"),
    ("tpot_ms", "time per output token, ms"),
)


def _rows(document: Document) -> list[tuple[str, ...]]:
    return [(label, *(f"{document[key][part]:,.1f}" for part in ("p10", "p50", "p90"))) for key, label in MEASURES]


def _figures(document: Document) -> list[tuple[str, ...]]:
    figures = document["explanation"]
    return [(one["name"], f"{one['value']} {one['unit']}".strip(), one["rule"]) for one in figures]


def _title(document: Document) -> str:
    inputs = document["inputs"]
    return "{model}, one replica on {gpus} x {gpu}, {concurrency:g} requests in flight".format(
        gpus=inputs["tensor_parallel"] * inputs["pipeline_parallel"], **inputs
    )


def text(document: Document) -> RenderableType:
    """Return the three predictions and the rules behind them."""
    table = grid(("predicted", "p10", "p50", "p90"), right=("p10", "p50", "p90"))
    for row in _rows(document):
        table.add_row(*row)
    why = grid(("because", "value", "rule"))
    for name, value, rule in _figures(document):
        why.add_row(Text(name), Text(value), Text(rule, style="dim"))
    return Group(Text(_title(document), style="bold"), Text(), table, Text(), why)


def markdown(document: Document) -> str:
    """Return the same for a comment."""
    parts = [f"**{_title(document)}**", markdown_table(("predicted", "p10", "p50", "p90"), _rows(document))]
    figures = _figures(document)
    if figures:
        parts.append(folded("Why", markdown_table(("figure", "value", "rule"), figures)))
    return "\n\n".join(parts)
