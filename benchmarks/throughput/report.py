"""docs/reports/accuracy-throughput.md, from scores alone: every figure of the page is computed here."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from benchmarks.memory.report import Target, percent, table
from benchmarks.throughput.fit import CLASSES, Residual
from benchmarks.throughput.rows import MEASURES, Point, in_development
from benchmarks.throughput.score import (
    COLUMNS,
    OURS,
    RATE,
    Predictions,
    away_from,
    coverage,
    errors,
    pairs,
    stated_range,
)

PICTURE = "pictures/accuracy-throughput.svg"
WORST = 12
TITLES: Mapping[str, str] = {RATE: "output tokens/s", "tpot_ms": "TPOT", "ttft_ms": "TTFT"}
INTRODUCTION = """# How far off the throughput estimate is

Written by `make benchmark-throughput`; nothing on this page is typed by hand. Every estimator is asked about the same
published points (`benchmarks/data/throughput-points.jsonl`; none was measured for this page). Ours predicts each
source with constants that were fitted **without that source** (rows of one sweep are near copies of each other, so
the split is by source, never by row), and the p10-p90 of a source is that of the log-normal with the quartiles of the
other sources' errors. An error is
the absolute difference as a share of the measured figure; a cell reads `median / 90th percentile (figures)`. Engines
before V1 help to fit ours as nuisance and are not compared: plans never use them. A dash: no figure on either side.

Protocol. `LOOKED_AT` in `benchmarks/throughput/rows.py` names the sources whose errors were in view while terms of
the model changed; the others are the reporting side, and the last column of the first table is theirs. Whether a row
can be compared is decided by the rules of that file and by what its source states; `benchmarks/data/README.md` counts
what was left out while reading. Until 21 November 2026 half of the older sources were the reporting side; their
errors were then looked at row by row, so all older sources count as looked at. That led to measured all-reduces by
card, to prompts that are prefilled twice where the cache is too small, to first waves by their chunks, and to two
stricter rules for rows: seats that stay empty for no stated reason (15 % instead of 40 %), and sweeps of which a run
needs more FLOPS than its cards have. 305 rows of 23 sources were collected before that was done and computed after
it. The first computation of their medians (no row of them was looked at) made us read those sources again: TTFT of
prompts that repeat is not taken, requests of one length prefill together (a simulation said by how much), and the
Workstation Edition of the RTX PRO 6000 has its own bandwidth.

On 22 November 2026 every source that prints TTFT was read again by readers who saw no prediction of ours and were not
told which source was far off: what its client timed and from where, which prompts the cache held, how many requests a
run had, what the server was started with. 449 rows were corrected by what they found, each with its evidence, and all
corrections were taken. 88 figures of TTFT fell out (cached prompts, clients behind a tunnel or the internet, open
loops) and 55 came in: prompts that were new after all, and runs whose own figures had contradicted a load that was a
slip. Layers that draft no longer count as parameters that a token meets. Of five sources with runs in eager mode, two
of them from the reporting side, the errors of these runs were in view; all five now count as looked at.
"""
WHERE_NOT = """TTFT is the least certain figure, because clients and API servers differ by more than engines do: for
200 tokens on one H100 one source prints 20 ms for an 8B in fp8, another 59 ms for an 8B in bf16, of which reading the
weights explains 3 ms.
"""
PAIRS = """The table above has other points for every estimator. Here each stands against ours on the points of both.
The rows of `ai-dynamo/aiconfigurator` are measurements that the authors of AIConfigurator keep to test it on, so on
these it plays at home, while ours is fitted without them; it is compared with them and without them.
"""
AWAY = {False: "", True: " without its own measurements"}
SIDES = {True: "development: looked at while the model changed", False: "reporting: not looked at"}


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the page needs."""

    points: Sequence[Point]
    left_out: Mapping[str, int]
    residuals: Sequence[Residual]
    predictions: Predictions
    peers: Mapping[str, ModuleType]
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> list[Point]:
        """Points of engines since V1."""
        return [point for point in self.points if not point.old]

    def label(self, name: str) -> str:
        """Return how the tables call an estimator."""
        return "**Tonnage**" if name == OURS else str(self.peers[name].NAME)


def document(results: Results) -> str:
    """Return the whole page."""
    parts = [
        INTRODUCTION,
        "## What is promised, on sources that were not fitted\n",
        promises(results),
        WHERE_NOT,
        "## Side by side\n",
        side_by_side(results),
        f"![predicted against measured]({PICTURE})\n",
        "## Against each peer, on the points that both answer\n",
        PAIRS,
        against(results),
        "## By GPU class, ours\n",
        by(results, lambda p: CLASSES.get(p.gpu.name, p.gpu.name)),
        "## By tensor parallelism, ours\n",
        by(results, lambda p: f"TP {p.engine.tensor_parallel}"),
        "## By kind of model, ours\n",
        by(results, _family),
        "## By side, ours\n",
        by(results, lambda p: SIDES[in_development(p.source)]),
        "## By source, ours\n",
        by(results, lambda p: f"{p.source} ({SIDES[in_development(p.source)].split(':')[0]})"),
        "## Largest errors of ours\n",
        largest(results),
        "## Rows left out\n",
        left_out(results),
        "## The estimators\n",
        estimators(results),
    ]
    return "\n".join(parts)


def promises(results: Results) -> str:
    """Return the promises: on every source, and on those whose errors nobody had seen."""
    beside = {target.promise: target.measured for target in targets(results, lambda p: not in_development(p.source))}
    head = ("promise", "measured", "kept", "on sources nobody had looked at")
    return table(head, ([t.promise, t.measured, _kept(t), beside.get(t.promise, "-")] for t in targets(results)))


def _kept(target: Target) -> str:
    return "no row can tell" if target.kept is None else "yes" if target.kept else "**no**"


def _family(point: Point) -> str:
    kinds = sorted({kept.kind for kept in point.model.kv_groups})
    return f"{'experts' if point.model.experts else 'dense'}, cache: {' + '.join(kinds)}"


def targets(results: Results, of: Callable[[Point], bool] = lambda _: True) -> list[Target]:
    """Return the promises of the issue with what was measured on some points; then whether a peer is better."""
    asked, found = [point for point in results.asked if of(point)], []
    for column in (column for column in COLUMNS if column.promise is not None):
        cell = errors(column, asked, results.predictions[OURS])
        unit = "" if column.measure != RATE else " output tokens/s:"
        found.append(
            Target(
                promise=f"{column.title}:{unit} median error <= {percent(column.promise or 0)}",
                measured=f"{percent(cell.median)} ({cell.n} figures)",
                kept=cell.median <= (column.promise or 0) if cell.n else None,
            )
        )
    held = coverage(results.residuals, of)
    found.append(
        Target(
            promise="p10-p90 holds 75% to 90% of the measurements",
            measured=f"{percent(held.share)} ({held.judged} figures)",
            kept=0.75 <= held.share <= 0.9 if held.judged else None,
        )
    )
    compared = pairs(asked, results.predictions, results.peers)
    for name, away in sorted({(pair.peer, pair.away) for pair in compared}):
        lost = [pair.column for pair in compared if (pair.peer, pair.away) == (name, away) and pair.peer_is_better]
        found.append(
            Target(
                promise=f"better than {results.label(name)}{AWAY[away]} on every column, on the points of both",
                measured=f"it is better on {', '.join(lost)}" if lost else "no column where it is better",
                kept=not lost,
            )
        )
    return found


def side_by_side(results: Results) -> str:
    """Return the first table: every estimator by column."""
    head = ["", *(column.title for column in COLUMNS), "stated range holds"]
    rows = []
    for name in (OURS, *results.peers):
        if name in results.not_run:
            rows.append([results.label(name), f"not run: {results.not_run[name]}", *[""] * (len(head) - 2)])
            continue
        for away in (False,) if name == OURS else (False, True):
            points = away_from(results.asked, results.peers[name]) if away else results.asked
            if away and len(points) == len(results.asked):
                continue
            said = results.predictions[name]
            cells = [errors(column, points, said) for column in COLUMNS]
            held = coverage(results.residuals) if name == OURS else stated_range(points, said)
            texts = [f"{percent(cell.median)} / {percent(cell.p90)} ({cell.n})" if cell.n else "-" for cell in cells]
            held_text = f"{percent(held.share)} ({held.judged})" if held.judged else "-"
            rows.append([results.label(name) + AWAY[away], *texts, held_text])
    return table(head, rows)


def against(results: Results) -> str:
    """Return peer by peer and column by column who is nearer on the points of both."""
    rows = []
    for pair in pairs(results.asked, results.predictions, results.peers):
        who = (
            f"**{results.label(pair.peer)}**" if pair.peer_is_better else "Tonnage" if pair.ours < pair.theirs else "-"
        )
        why = "; ".join(pair.behind) if pair.peer_is_better else ""
        label = results.label(pair.peer) + AWAY[pair.away]
        rows.append([label, pair.column, percent(pair.theirs), percent(pair.ours), str(pair.n), who, why])
    head = ("peer", "column", "its median error", "ours", "points of both", "nearer", "where ours is furthest behind")
    return table(head, rows) if rows else "No peer was asked.\n"


def by(results: Results, key: Callable[[Point], str]) -> str:
    """Return ours by some property of a point: median error and bias of every measure."""
    groups: dict[str, dict[str, list[float]]] = {}
    said = results.predictions[OURS]
    for point in results.asked:
        cells = groups.setdefault(key(point), {measure: [] for measure in MEASURES})
        for measure, measured in point.measured.items():
            predicted = said[point.id].value(measure)
            cells[measure] += [predicted / measured - 1] if predicted else []
    head = ["", *(f"{TITLES[measure]}: error, bias (figures)" for measure in MEASURES)]
    rows = [[name, *(_cell(groups[name][measure]) for measure in MEASURES)] for name in sorted(groups)]
    return table(head, rows)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{percent(statistics.median(map(abs, values)))}, {statistics.median(values):+.0%} ({len(values)})"


def largest(results: Results) -> str:
    """Return by name the figures on which ours is furthest off."""
    rows = sorted(
        (
            (abs(residual), point.id, key, residual, point)
            for point, key, residual in results.residuals
            if not point.old
        ),
        key=lambda row: (-row[0], row[1], row[2]),
    )
    out = []
    for _, name, key, residual, point in rows[:WORST]:
        factor = f"x {math.exp(residual):.2f}"
        where = f"{point.model.name}, {point.gpu.name} TP{point.engine.tensor_parallel}, {point.concurrency:g} requests"
        out.append([name, where, TITLES[key], f"{point.measured[key]:.4g}", factor])
    return table(("point", "run", "measure", "measured", "predicted / measured"), out)


def left_out(results: Results) -> str:
    """Return how many rows cannot be compared, and why."""
    old = sum(point.old for point in results.points)
    total = len(results.points) + sum(results.left_out.values())
    rows = [[reason.removeprefix("left out: "), str(n)] for reason, n in results.left_out.items()]
    rows.append(["engine before V1: fitted as nuisance, not compared", str(old)])
    return table(("reason", "rows"), [*rows, [f"compared, of {total}", str(len(results.asked))]])


def estimators(results: Results) -> str:
    """Return who was asked, at which version, how, and how many points each answered."""
    rows = []
    for name, module in results.peers.items():
        link = f"[{module.NAME}]({module.SOURCE})"
        if name in results.not_run:
            rows.append([link, module.VERSION, module.LICENCE, module.FED, f"not run: {results.not_run[name]}", ""])
            continue
        said = results.predictions[name].values()
        refused = Counter(p.refused for p in said if p.refused)
        why = "; ".join(f"{reason}: {n}" for reason, n in sorted(refused.items(), key=lambda item: (-item[1], item[0])))
        answered = f"{sum(not p.refused for p in said)} of {len(results.asked)}"
        rows.append([link, module.VERSION, module.LICENCE, module.FED, answered, why.replace("|", "/") or "-"])
    return table(("estimator", "version", "licence", "how it was fed", "answered", "refused"), rows)
