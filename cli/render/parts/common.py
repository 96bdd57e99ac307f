"""Pieces that several renderers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

BOUNDS = ("floor", "expected", "ceiling")


def grid(heads: Sequence[str], *, right: Sequence[str] = ()) -> Table:
    """Return a table without lines; columns named in ``right`` are aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, justify="right" if head in right else "left", overflow="fold")
    return table


def heading(title: str) -> Text:
    """Return a section title with a blank line before it."""
    return Text(f"\n{title}", style="bold")


def usd(value: float, digits: int = 0) -> str:
    """Return an amount of dollars."""
    return f"${value:,.{digits}f}"


def three(values: Mapping[str, float]) -> str:
    """Return floor / expected / ceiling of counts."""
    return " / ".join(f"{values[bound]:g}" for bound in BOUNDS)


def three_usd(values: Mapping[str, float]) -> str:
    """Return floor / expected / ceiling of dollars."""
    return " / ".join(f"{values[bound]:,.2f}" for bound in BOUNDS)


def spread(interval: Mapping[str, float], digits: int = 0) -> str:
    """Return the middle of a prediction with its p10 and p90."""
    return f"{interval['p50']:,.{digits}f} ({interval['p10']:,.{digits}f} to {interval['p90']:,.{digits}f})"


def middle_and_high(interval: Mapping[str, float], digits: int = 0) -> str:
    """Return the middle of a prediction and its p90."""
    return f"{interval['p50']:,.{digits}f} to {interval['p90']:,.{digits}f}"


def zones(ids: Sequence[str]) -> str:
    """Return zone ids, their common part once: ``use1-az1 az2``."""
    common = f"{ids[0].partition('-')[0]}-" if ids else ""
    return " ".join([*ids[:1], *(one.removeprefix(common) for one in ids[1:])])


def machine(option: Mapping[str, Any]) -> str:
    """Return what one replica runs on."""
    count = option["instances_per_replica"]
    prefix = f"{count} x " if count > 1 else ""
    return f"{prefix}{option['instance_type']}, {option['gpu']}, TP {widths(option)}"


def widths(option: Mapping[str, Any]) -> str:
    """Return the tensor parallel size and, where there are stages, their number: ``2 x PP 4``."""
    stages = option.get("pipeline_parallel", 1)
    return f"{option['tensor_parallel']}" + (f" x PP {stages}" if stages > 1 else "")
