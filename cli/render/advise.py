"""How ``tonnage advise`` looks: the answer, the change of the stack file, and the figures behind it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.render.parts.common import grid, heading, three, usd
from cli.render.parts.markdown import bullets, safe
from cli.render.parts.markdown import table as markdown_table

Document = Mapping[str, Any]
FIGURE_HEADS = ("figure", "planned", "measured", "alone it changes")
SIDE_HEADS = ("", "machines", "replicas", "USD a month: floor", "expected", "ceiling")
SIDES = (("planned", "as planned"), ("kept", "kept, with the measured traffic"), ("proposed", "proposed"))
LABELS = {
    "requests_per_second": "traffic, requests/s",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "prefix_share": "prefix share",
    "ttft_p95_ms": "TTFT p95 ms (promised)",
    "tpot_p95_ms": "TPOT p95 ms (promised)",
    "kv_tokens": "KV cache, tokens",
    "running": "running now",
    "waiting": "waiting now",
    "kv_cache_usage": "KV cache in use",
}
GAUGES = ("running", "waiting", "kv_cache_usage")
STYLES = {"+": "green", "-": "red"}


def sentence(document: Document) -> str:
    """Return the answer as one sentence."""
    who = f"{document['stack']}, {document['model']}"
    if document["advice"] == "keep":
        return f"{who}: keep it as it is"
    if document["proposed"] is None:
        return f"{who}: does not do, and nothing else does either"
    saving, sides = document["saving_usd_per_month"], (document["planned"], document["proposed"])
    words = [_replica_change(*sides)] if sides[0]["replicas"] != sides[1]["replicas"] else []
    if sides[0]["name"] != sides[1]["name"]:
        words.insert(0, f"{sides[0]['name']} -> {sides[1]['name']}")
    words.append(_saving(saving))
    return f"{who}: change it: {', '.join(words)}"


def _saving(saving: float) -> str:
    if abs(saving) < 1:
        return "at the same cost now, for replicas scale already"
    return f"saves {usd(saving)} a month" if saving > 0 else f"costs {usd(-saving)} a month more"


def _replica_change(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    pairs = [(key, ours["replicas"][key], theirs["replicas"][key]) for key in ("floor", "expected", "ceiling")]
    return ", ".join(f"{key} {before} -> {after}" for key, before, after in pairs if before != after)


def difference(document: Document) -> list[str]:
    """Return the change of the entry as lines of a diff, in the keys of the stack file."""
    import yaml

    def lines(key: str) -> list[str]:
        dumped: str = yaml.safe_dump([document[key]], sort_keys=False, allow_unicode=True, width=1000)
        return [f"  {line}" for line in dumped.splitlines()]

    found = list(unified_diff(lines("entry"), lines("proposed_entry"), lineterm="", n=100))
    return found[3:]


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit in {"tokens", "ms"}:
        return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.3g}"
    if unit == "share":
        return f"{value * 100:.0f} %"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def figure_rows(document: Document) -> list[tuple[str, ...]]:
    """Return one row for each figure that was planned or measured."""
    return [
        (LABELS[one["name"]], _figure(one["planned"], one["unit"]), _figure(one["measured"], one["unit"]), _effect(one))
        for one in document["findings"]
    ]


def _effect(finding: Mapping[str, Any]) -> str:
    known = finding["planned"] is not None and finding["measured"] is not None
    return finding["effect"] or ("as planned" if known and finding["name"] not in GAUGES else "")


def side_rows(document: Document) -> list[tuple[str, ...]]:
    """Return the ways to run the model: as planned, kept under the measured traffic, proposed."""
    rows: list[tuple[str, ...]] = []
    for key, label in SIDES:
        side = document[key]
        if side is None:
            rows.append((label, "does not carry the measured traffic", "", "", "", ""))
            continue
        costs = (f"{side['usd_per_month'][bound]:,.0f}" for bound in ("floor", "expected", "ceiling"))
        rows.append((label, side["name"], three(side["replicas"]), *costs))
    return rows


def _basis(document: Document) -> str:
    measured = document["measured"]
    judged = f"lengths and latencies of {measured['judged_requests']:,} requests"
    if measured["seconds"] is None:
        return judged
    return f"{measured['requests']:,} requests in {measured['seconds']:,g} s ({measured['rate_of']}); {judged}"


def text(document: Document) -> RenderableType:
    """Return the answer, its reasons, the change, and what it is founded on."""
    keep = document["advice"] == "keep"
    parts: list[RenderableType] = [Text(sentence(document), style="bold green" if keep else "bold yellow")]
    parts += [Text(f"because {reason}") for reason in document["reasons"]]
    if document["changes"]:
        parts.append(heading("In the stack file"))
        parts += [Text(line, style=STYLES.get(line[:1], "dim")) for line in difference(document)]
    for title, heads, rows, right in (
        ("Cost of the GPU nodes", SIDE_HEADS, side_rows(document), SIDE_HEADS[3:]),
        (f"Figures: {_basis(document)}", FIGURE_HEADS, figure_rows(document), FIGURE_HEADS[1:3]),
    ):
        section = grid(heads, right=right)
        for row in rows:
            section.add_row(*(Text(cell) for cell in row))
        parts += [heading(title), section]
    parts += [Text(f"note: {note}", style="yellow") for note in document["notes"]]
    return Group(*parts)


def markdown(document: Document) -> str:
    """Return the same for a comment."""
    parts = [f"**{safe(sentence(document))}**"]
    if document["reasons"]:
        parts.append(bullets(document["reasons"]))
    if document["changes"]:
        lines = "\n".join(line.replace("`", "'") for line in difference(document))
        parts.append(f"```diff\n{lines}\n```")
    parts.append(markdown_table(SIDE_HEADS, side_rows(document)))
    parts += [safe(_basis(document)), markdown_table(FIGURE_HEADS, figure_rows(document))]
    if document["notes"]:
        parts.append(bullets(document["notes"]))
    return "\n\n".join(parts)
