"""How ``tonnage catalogue show`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.parts.common import grid, heading
from cli.render.parts.markdown import folded
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
GPU_HEADS = ("GPU", "architecture", "GiB", "GB/s", "on AWS")
INSTANCE_HEADS = ("instance type", "GPUs", "vCPU", "GiB", "on demand USD/h", "spot USD/h", "zones")
MODEL_HEADS = ("model", "parameters", "quantisation", "context", "revision")


def _gpus(document: Document) -> list[tuple[str, ...]]:
    return [
        (
            one["name"],
            one["architecture"],
            f"{one['total_gib']:g}",
            f"{one['bandwidth_gb_s']:g}",
            "yes" if one["rented_by_aws"] else "",
        )
        for one in document["gpus"]
    ]


def _instances(document: Document) -> list[tuple[str, ...]]:
    return [
        (
            one["instance_type"],
            f"{one['gpus']} x {one['gpu']}",
            str(one["vcpu"]),
            f"{one['memory_gib']:g}",
            f"{one['on_demand_usd_per_hour']:.4f}",
            "" if one["spot_usd_per_hour"] is None else f"{one['spot_usd_per_hour']:.4f}",
            " ".join(one["zone_ids"]),
        )
        for one in document["instances"]
    ]


def _models(document: Document) -> list[tuple[str, ...]]:
    return [
        (
            one["name"],
            f"{one['parameters'] / 1e9:.1f} B",
            str(one["quantisation"]),
            f"{one['max_model_len']:,}",
            one["revision"][:12],
        )
        for one in document["models"]
    ]


def _sections(document: Document) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    return [
        ("GPUs", GPU_HEADS, _gpus(document)),
        (f"Instance types in {document['region']}", INSTANCE_HEADS, _instances(document)),
        ("Models", MODEL_HEADS, _models(document)),
        ("Sources", ("facts", "from"), list(document["sources"].items())),
    ]


def text(document: Document) -> RenderableType:
    """Return one table per kind of fact."""
    parts: list[RenderableType] = [Text(f"Catalogue of {document['date']}", style="bold")]
    for title, heads, rows in _sections(document):
        table = grid(heads)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        parts += [heading(title), table]
    return Group(*parts)


def markdown(document: Document) -> str:
    """Return the same, each table folded."""
    parts = [f"**Catalogue of {document['date']}**"]
    parts += [folded(title, markdown_table(heads, rows)) for title, heads, rows in _sections(document)]
    return "\n\n".join(parts)
