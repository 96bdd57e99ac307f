"""docs/reports/pictures/accuracy.svg: predicted against measured, ours by family, peers in grey. Same bytes always."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.memory.cases import Start
from benchmarks.memory.report import Results
from benchmarks.memory.score import COLUMNS, OURS, Column

PANELS = ("weights", "activation", "cache", "tokens")
UNITS: Mapping[str, str] = {"weights": "GiB per GPU", "activation": "GiB", "cache": "GiB per GPU", "tokens": "tokens"}
FLOOR: Mapping[str, float] = {"weights": 0.1, "activation": 0.05, "cache": 0.1, "tokens": 1000.0}
"""A prediction of nothing (or less) is drawn at the edge of the picture."""


def draw(results: Results, file: Path) -> None:
    """Write the picture of the side that was not fitted."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "tonnage", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 8))
    families = sorted({start.family for start in results.starts})
    colours = {family: f"C{index}" for index, family in enumerate(families)}
    for axis, key in zip(axes.flat, PANELS, strict=True):
        _panel(axis, next(column for column in COLUMNS if column.key == key), results, colours)
    handles, labels = _legend(axes.flat)
    figure.legend(handles, labels, loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # no trailing blanks: the file is kept in the repository
    file.write_text("\n".join(line.rstrip() for line in file.read_text("utf-8").splitlines()) + "\n", encoding="utf-8")


def _panel(axis: Any, column: Column, results: Results, colours: Mapping[str, Any]) -> None:
    axis.set(
        xscale="log", yscale="log", title=f"{column.title}, {UNITS[column.key]}", xlabel="measured", ylabel="predicted"
    )
    for name in results.peers:
        points = _points(column, results.held_out, results, name)
        if points:
            axis.scatter(*zip(*[p[:2] for p in points], strict=True), s=12, c="#bbbbbb", marker="x", label="peers")
    for family, colour in colours.items():
        points = [point for point in _points(column, results.held_out, results, OURS) if point[2] == family]
        if points:
            axis.scatter(*zip(*[p[:2] for p in points], strict=True), s=22, color=colour, label=family, zorder=3)
    low = min(axis.get_xlim()[0], axis.get_ylim()[0])
    high = max(axis.get_xlim()[1], axis.get_ylim()[1])
    axis.plot([low, high], [low, high], color="black", linewidth=0.7)
    axis.set(xlim=(low, high), ylim=(low, high))


def _points(column: Column, starts: list[Start], results: Results, name: str) -> list[tuple[float, float, str]]:
    said = results.predictions.get(name, {})
    found = []
    for start in starts:
        measured = column.measured(start)
        predicted = column.predicted(said[start.name]) if start.name in said else None
        if measured and measured > 0 and predicted is not None:
            found.append((measured, max(predicted, FLOOR[column.key]), start.family))
    return found


def _legend(axes: Any) -> tuple[list[Any], list[str]]:
    seen: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            seen.setdefault(label, handle)
    order = sorted(seen, key=lambda label: (label == "peers", label))
    return [seen[label] for label in order], order
