"""docs/reports/pictures/accuracy-throughput.svg: predicted against measured, ours by kind; same bytes always."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.throughput.fit import KINDS, kind_of
from benchmarks.throughput.report import TITLES, Results
from benchmarks.throughput.rows import MEASURES
from benchmarks.throughput.score import OURS


def draw(results: Results, file: Path) -> None:
    """Write the picture: one panel for each measure, every source unseen by the fit."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "tonnage", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(MEASURES), figsize=(12, 4.4))
    for axis, measure in zip(axes, MEASURES, strict=True):
        _panel(axis, results, measure)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=6, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # no trailing blanks: the file is kept in the repository
    file.write_text("\n".join(line.rstrip() for line in file.read_text("utf-8").splitlines()) + "\n", encoding="utf-8")


def _panel(axis: Any, results: Results, measure: str) -> None:
    unit = TITLES[measure] + ("" if measure == MEASURES[0] else ", ms")
    axis.set(xscale="log", yscale="log", title=unit, xlabel="measured", ylabel="predicted")
    for marker, name in zip("x+", [name for name in results.predictions if name != OURS], strict=False):
        points = [point[:2] for point in _points(results, name, measure)]
        if points:
            axis.scatter(*zip(*points, strict=True), s=12, c="#bbbbbb", marker=marker, label=results.label(name))
    for index, kind in enumerate(KINDS):
        points = [point[:2] for point in _points(results, OURS, measure) if point[2] == kind]
        if points:
            axis.scatter(*zip(*points, strict=True), s=16, color=f"C{index}", label=kind, zorder=3)
    low, high = min(axis.get_xlim()[0], axis.get_ylim()[0]), max(axis.get_xlim()[1], axis.get_ylim()[1])
    axis.plot([low, high], [low, high], color="black", linewidth=0.7)
    axis.set(xlim=(low, high), ylim=(low, high))


def _points(results: Results, name: str, measure: str) -> list[tuple[float, float, str]]:
    said, found = results.predictions[name], []
    for point in results.asked:
        measured = point.measured.get(measure)
        predicted = said[point.id].value(measure) if point.id in said else None
        if measured and predicted:
            found.append((measured, predicted, kind_of(point)))
    return found
