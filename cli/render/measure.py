"""How ``tonnage measure`` looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.parts.common import grid, heading
from cli.render.parts.markdown import bullets, folded, safe
from cli.render.parts.markdown import table as markdown_table
from cli.render.size import ENGINE_KEYS

Document = Mapping[str, Any]
TERM_HEADS = ("per GPU", "predicted", "p10 to p90", "measured", "difference", "error", "inside")
RIGHT = TERM_HEADS[1:6]
LABELS = {
    "weights_gib": "weights",
    "peak_activation_gib": "activations",
    "non_torch_gib": "non-torch",
    "cuda_graph_gib": "CUDA graphs",
    "kv_cache_gib": "KV cache",
    "kv_tokens": "KV cache, tokens",
    "max_concurrency": "requests of full length",
}
RANK_HEADS = ("rank", "weights", "activations", "non-torch", "CUDA graphs", "KV cache", "card")
RANK_KEYS = ("weights_gib", "peak_activation_gib", "non_torch_gib", "cuda_graph_gib", "kv_cache_gib", "total_gib")
LOAD_HEADS = ("load", "")
SECONDS_HEADS = ("seconds", "")
INPUT_HEADS = ("setting", "value", "from")


def verdict(document: Document) -> str:
    """Return the answer as one sentence."""
    if not document["change"]:
        return f"{document['model']} on {document['gpu']}: no change"
    what = f"stack {document['stack']}" if document["stack"] else "stack"
    return f"{document['model']} on {document['gpu']}: the {what} should change: {document['reasons'][0]}"


def _amount(value: float | None, unit: str, *, sign: bool = False) -> str:
    if value is None:
        return "-"
    plus = "+" if sign else ""
    return f"{value:{plus},}" if unit == "tokens" else f"{value:{plus},.2f}"


def term_rows(document: Document) -> list[tuple[str, ...]]:
    """Return one row for each term that was predicted or measured."""
    rows = []
    for term in document["terms"]:
        unit = term["unit"]
        spread = f"{_amount(term['p10'], unit)} to {_amount(term['p90'], unit)}" if term["p10"] is not None else "-"
        error = f"{term['error']:+.1%}" if term["error"] is not None else "-"
        inside = {True: "✓", False: "✗", None: "-"}[term["inside"]]
        figures = (_amount(term["predicted"], unit), spread, _amount(term["measured"], unit))
        label = LABELS[term["name"]] + (" GiB" if unit == "GiB" else "")
        rows.append((label, *figures, _amount(term["difference"], unit, sign=True), error, inside))
    return rows


def rank_rows(document: Document) -> list[tuple[str, ...]]:
    """Return the ranks, where there are several."""
    if len(document["ranks"]) < 2:
        return []
    return [
        (one["rank"] or "driver", *(_amount(one[key], "GiB") for key in RANK_KEYS)) for one in document["ranks"]
    ]  # fmt: skip


def load_rows(document: Document) -> list[tuple[str, str]]:
    """Return what a running server has carried."""
    load = document["load"]
    if load is None:
        return []
    shares = {"kv_cache_usage": "KV cache in use", "prefix_hit_rate": "prefix cache hits"}
    counts = ("running", "waiting", "preemptions", "requests", "prompt_tokens", "generation_tokens")
    rows: list[tuple[str, str]] = [(name.replace("_", " "), f"{load[name]:,}") for name in counts]
    rows += [(label, f"{load[key]:.1%}") for key, label in shares.items() if load[key] is not None]
    for key, label in (("ttft", "time to first token"), ("tpot", "time per output token")):
        if load[key] is not None:
            rows.append((f"{label}, ms", _latency(load[key])))
    return rows


def _latency(latency: Mapping[str, float | None]) -> str:
    parts = [f"mean {latency['mean_ms']:,.1f}"]
    parts += [f"{part} {latency[f'{part}_ms']:,.1f}" for part in ("p50", "p95") if latency[f"{part}_ms"] is not None]
    return ", ".join(parts)


def _seconds(document: Document) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), f"{value:,.2f}") for name, value in document["seconds"].items()]


def _inputs(document: Document) -> list[tuple[str, str, str]]:
    """Return the settings that most engines have, and others where somebody set them."""
    usual, said = {*ENGINE_KEYS, "gpu", "gpu_total_gib"}, {document["source"], "stated"}
    found = document["inputs"].items()
    return [(key, str(one["value"]), one["source"]) for key, one in found if key in usual or one["source"] in said]


def text(document: Document) -> RenderableType:
    """Return the verdict, the terms, what to set, and where each setting comes from."""
    style = "bold red" if document["change"] else "bold green"
    parts: list[RenderableType] = [Text(verdict(document), style=style)]
    parts += [Text(f"and {reason}") for reason in document["reasons"][1:]]
    parts += [Text(f"way out: {action}", style="bold") for action in document["actions"]]
    table = grid(TERM_HEADS, right=RIGHT)
    for row in term_rows(document):
        table.add_row(*(Text(cell, style="red" if cell == "✗" else "") for cell in row))
    parts += [Text(), table]
    parts += [Text(f"note: {note}", style="yellow") for note in document["notes"]]
    for title, heads, rows in (
        ("Ranks, GiB", RANK_HEADS, rank_rows(document)),
        ("Since the server started", LOAD_HEADS, load_rows(document)),
        ("Start-up", SECONDS_HEADS, _seconds(document)),
        ("Predicted for", INPUT_HEADS, _inputs(document)),
    ):
        if rows:
            section = grid(heads, right=heads[1:] if heads is RANK_HEADS else ())
            for row in rows:
                section.add_row(*(Text(cell) for cell in row))
            parts += [heading(title), section]
    return Group(*parts)


def markdown(document: Document) -> str:
    """Return the same for a comment."""
    parts = [f"**{safe(verdict(document))}**"]
    if document["reasons"]:
        parts.append(bullets((*document["reasons"][1:], *(f"way out: {action}" for action in document["actions"]))))
    parts.append(markdown_table(TERM_HEADS, term_rows(document)))
    if document["notes"]:
        parts.append(bullets(document["notes"]))
    for title, heads, rows in (
        ("Ranks, GiB", RANK_HEADS, rank_rows(document)),
        ("Since the server started", LOAD_HEADS, load_rows(document)),
        ("Start-up", SECONDS_HEADS, _seconds(document)),
        ("Predicted for", INPUT_HEADS, _inputs(document)),
    ):
        if rows:
            parts.append(folded(title, markdown_table(heads, rows)))
    return "\n\n".join(parts)
