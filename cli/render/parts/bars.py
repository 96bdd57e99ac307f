"""Bars: parts of a whole and values against a limit, in text cells, Markdown and SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from rich.table import Table
from rich.text import Text

MEMORY_TERMS = (
    ("weights_gib", "weights", "blue"),
    ("peak_activation_gib", "activations", "magenta"),
    ("non_torch_gib", "non-torch", "yellow"),
    ("cuda_graph_gib", "CUDA graphs", "cyan"),
    ("kv_cache_gib", "KV cache", "green"),
)
"""Terms of the memory of one GPU: key of the document, what it is called, colour."""
SVG_COLOURS = {
    "blue": "#3b6fb6",
    "magenta": "#9c4f96",
    "yellow": "#d9a441",
    "cyan": "#3fa7a3",
    "green": "#5a9e4b",
    "red": "#c0473a",
    "grey": "#d4d4d4",
}
FULL, EMPTY = "█", "░"


def memory_bar(per_gpu: Mapping[str, float], width: int = 60) -> Text:
    """Return the memory of one GPU as a bar of its terms; what does not fit is cut off and named in the legend."""
    total = max(per_gpu["total_gib"], 1e-9)
    bar, used = Text(), 0
    reached = 0.0
    for key, _, colour in MEMORY_TERMS:
        reached += max(per_gpu[key], 0.0)
        cells = min(round(reached / total * width), width) - used
        bar.append(FULL * max(cells, 0), style=colour)
        used += max(cells, 0)
    bar.append(EMPTY * (width - used), style="dim")
    return bar


def memory_legend(per_gpu: Mapping[str, float]) -> Text:
    """Return the terms with their sizes, each in the colour of its part of the bar."""
    legend = Text()
    for key, label, colour in MEMORY_TERMS:
        legend.append("■ ", style=colour).append(f"{label} {per_gpu[key]:.2f} ")
    return legend.append(f"of {per_gpu['total_gib']:.2f} GiB")


def against_limit(
    rows: Sequence[tuple[str, float, str]], limit: float | None, limit_label: str, width: int = 44
) -> Table:
    """Return values as bars; the scale ends at the limit (if any) or at the largest value, whichever is more."""
    scale = _scale(rows, limit)
    table = Table.grid(padding=(0, 2))
    for label, value, shown in rows:
        cells = min(round(value / scale * width), width)
        bar = Text(FULL * cells, style=_verdict(value, limit)).append(EMPTY * (width - cells), style="dim")
        table.add_row(label, bar, shown)
    mark = " " * max(round(limit / scale * width) - 1, 0) + "▲" if limit is not None else ""
    table.add_row("", Text(mark, style="bold"), limit_label)
    return table


def _scale(rows: Sequence[tuple[str, float, str]], limit: float | None) -> float:
    return max([limit or 0.0, *(value for _, value, _ in rows)]) or 1.0


def _verdict(value: float, limit: float | None) -> str:
    return "red" if limit is not None and value > limit else "green"


def memory_svg(name: str, per_gpu: Mapping[str, float]) -> str:
    """Return the memory of one GPU as an inline SVG bar with a title per term."""
    total = max(per_gpu["total_gib"], 1e-9)
    parts, x = [], 0.0
    for key, label, colour in MEMORY_TERMS:
        width = min(max(per_gpu[key], 0.0) / total * 600, 600 - x)
        title = f"<title>{escape(label)} {per_gpu[key]:.2f} GiB</title>"
        parts.append(
            f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="26" fill="{SVG_COLOURS[colour]}">{title}</rect>'
        )
        x += width
    head = f'<svg role="img" aria-label="memory of one GPU for {escape(name, quote=True)}" viewBox="0 0 600 26">'
    rest = f'<rect x="0" y="0" width="600" height="26" fill="{SVG_COLOURS["grey"]}"/>'
    return head + rest + "".join(parts) + "</svg>"


def burn_svg(rows: Sequence[tuple[str, float, str]], limit: float | None, limit_label: str) -> str:
    """Return monthly burn as inline SVG bars, with the budget (if any) as a line."""
    scale, height = _scale(rows, limit), 30 * len(rows) + 24
    parts = [f'<svg role="img" aria-label="burn against the budget" viewBox="0 0 760 {height}">']
    for index, (label, value, shown) in enumerate(rows):
        y, colour = 30 * index, SVG_COLOURS[_verdict(value, limit)]
        parts.append(f'<text x="0" y="{y + 16}">{escape(label)}</text>')
        parts.append(f'<rect x="90" y="{y}" width="{value / scale * 420:.1f}" height="22" fill="{colour}"/>')
        parts.append(f'<text x="520" y="{y + 16}">{escape(shown)}</text>')
    x = 90 + (limit or 0.0) / scale * 420
    if limit is not None:
        line = f'x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 22}"'
        parts.append(f'<line {line} stroke="#333" stroke-dasharray="4 3"/>')
    anchor = "end" if x > 300 else "start"
    parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="{anchor}">{escape(limit_label)}</text></svg>')
    return "".join(parts)
