"""docs/reports/pictures/plans-compared.svg: USD per million output tokens of every planner; same bytes always."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.plans.report import Compared, Results

OURS, MEETS, MISSES = "C0", "#999999", "white"


def draw(results: Results, file: Path) -> None:
    """Write the picture: one panel for each workload, filled where the objectives are met."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "tonnage", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(13, 7))
    for axis, one in zip(axes.flat, results.compared, strict=False):
        _panel(axis, results, one)
    figure.suptitle("USD per million output tokens; blue: Tonnage, grey: meets the objectives, hollow: misses them")
    figure.tight_layout()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    # no trailing blanks: the file is kept in the repository
    file.write_text("\n".join(line.rstrip() for line in file.read_text("utf-8").splitlines()) + "\n", encoding="utf-8")


def _panel(axis: Any, results: Results, one: Compared) -> None:
    ordered = sorted(one.fleets.items(), key=lambda item: (item[1].usd_per_hour, item[0]))
    bars = [("Tonnage", one.ours, OURS), *((results.label(n), f, MEETS if f.meets else MISSES) for n, f in ordered)]
    for place, (_, fleet, colour) in enumerate(reversed(bars)):
        axis.barh(place, one.per_million(fleet), color=colour, edgecolor="#555555", linewidth=0.6)
        axis.annotate(f" {fleet.gpus} {fleet.pick.gpu}", (one.per_million(fleet), place), va="center", fontsize=6)
    axis.set_yticks(range(len(bars)), [label for label, _, _ in reversed(bars)])
    axis.set(title=one.case.title, xlim=(0, 1.3 * max(one.per_million(fleet) for _, fleet, _ in bars)))
