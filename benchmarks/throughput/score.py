"""Errors of every throughput estimator on the published points: by column, card, width and family; no printing."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType

from benchmarks.memory.peers.environments import NotRun, talk
from benchmarks.memory.score import TIE, Errors
from benchmarks.throughput.fit import Residual, kind_of, spread
from benchmarks.throughput.peers.case import Case, Prediction
from benchmarks.throughput.rows import Point, models

OURS = "tonnage"
RATE = "output_tok_s"
NAMED = 3
"""Rows that are named where a peer is better."""
ASK_S = 3600
"""Longest run of one peer over all points."""
Predictions = Mapping[str, Mapping[str, Prediction]]
"""By estimator, then by point."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of the first table: a measure, on some of the points, and what is promised of ours."""

    title: str
    measure: str
    of: Callable[[Point], bool]
    promise: float | None = None
    """Median error at most."""

    def error(self, point: Point, prediction: Prediction) -> float | None:
        """Return the absolute error as a share of the measured; None where either side does not speak."""
        measured, predicted = point.measured.get(self.measure), prediction.value(self.measure)
        if measured is None or predicted is None or not self.of(point):
            return None
        return abs(predicted / measured - 1)


def _wide(point: Point) -> bool:
    return point.engine.tensor_parallel > 1


COLUMNS = (
    Column(
        title="one GPU, dense", measure=RATE, promise=0.12, of=lambda p: not _wide(p) and not p.model.experts
    ),
    Column(title="A10G", measure=RATE, promise=0.12, of=lambda p: p.gpu.name == "A10G"),
    Column(title="L4", measure=RATE, promise=0.12, of=lambda p: p.gpu.name == "L4"),
    Column(title="TP >= 2", measure=RATE, promise=0.20, of=_wide),
    Column(title="experts", measure=RATE, of=lambda p: bool(p.model.experts)),
    Column(title="all", measure=RATE, promise=0.18, of=lambda _: True),
    Column(title="TPOT", measure="tpot_ms", promise=0.12, of=lambda _: True),
    Column(title="TTFT", measure="ttft_ms", promise=0.25, of=lambda _: True),
)  # fmt: skip


def case_of(point: Point) -> Case:
    """Return the run of a point as it is put to a peer."""
    return Case(
        name=point.id,
        config=models()[point.model.name],
        gpu=point.gpu.name,
        tensor_parallel=point.engine.tensor_parallel,
        expert_parallel=point.engine.enable_expert_parallel,
        mixture=bool(point.model.experts),
        input_tokens=max(round(point.input_tokens), 1),
        output_tokens=max(round(point.output_tokens), 2),
        batch=max(round(min(point.concurrency, point.engine.max_num_seqs)), 1),
        max_num_seqs=point.engine.max_num_seqs,
        max_num_batched_tokens=point.engine.max_num_batched_tokens,
        kv_cache_dtype=point.engine.kv_cache_dtype,
    )


def ask(name: str, module: ModuleType, cases: Sequence[Case], *, offline: bool) -> list[Prediction]:
    """Return the peer's predictions in the order of the cases; NotRun with the reason where it cannot run."""
    lines = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
    found = talk(("benchmarks.throughput.peers", name), module, lines, offline=offline, limit_s=ASK_S)
    if len(found) != len(cases):
        raise NotRun(f"answered {len(found)} of {len(cases)} points")
    return [Prediction(**json.loads(line)) for line in found]


def ours_of(residuals: Iterable[Residual]) -> dict[str, Prediction]:
    """Return ours by point, from the residuals of sources that were not fitted."""
    by_point: dict[str, dict[str, float]] = defaultdict(dict)
    for point, key, residual in residuals:
        by_point[point.id][key] = point.measured[key] * math.exp(residual)
    return {name: Prediction(**values) for name, values in by_point.items()}


def errors(column: Column, points: Iterable[Point], said: Mapping[str, Prediction]) -> Errors:
    """Return the errors of one estimator on those of ``points`` where it and the source speak."""
    found = {point.id: column.error(point, said[point.id]) for point in points if point.id in said}
    return Errors(by_row={name: error for name, error in sorted(found.items()) if error is not None})


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Figures with a stated range, and those that lie in it."""

    judged: int
    inside: int

    @property
    def share(self) -> float:
        """Share inside; NaN of nothing."""
        return self.inside / self.judged if self.judged else math.nan


def coverage(residuals: Sequence[Residual], of: Callable[[Point], bool] = lambda _: True) -> Coverage:
    """Return how many measurements of some points lie in our p10-p90, whose factors come from the other sources."""
    judged = inside = 0
    for source in sorted({point.source for point, _, _ in residuals if not point.old}):
        factors = spread([found for found in residuals if found[0].source != source])
        for point, key, residual in residuals:
            if point.old or point.source != source or not of(point):
                continue
            limits = factors[kind_of(point)][key]
            judged += 1
            inside += limits["p10"] <= math.exp(-residual) <= limits["p90"]
    return Coverage(judged=judged, inside=inside)


def stated_range(points: Iterable[Point], said: Mapping[str, Prediction]) -> Coverage:
    """Return how many measured rates lie in the range that a peer states."""
    judged = inside = 0
    for point in points:
        prediction, measured = said.get(point.id), point.measured.get(RATE)
        if prediction is None or measured is None or prediction.output_tok_s_low is None:
            continue
        judged += 1
        inside += prediction.output_tok_s_low <= measured <= (prediction.output_tok_s_high or math.inf)
    return Coverage(judged=judged, inside=inside)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A peer and ours on the points of a column that both answer."""

    column: str
    peer: str
    theirs: float
    ours: float
    n: int
    away: bool
    """Without the points that the peer's own authors collected."""
    behind: tuple[str, ...]
    """Points on which ours is furthest behind, with both errors."""

    @property
    def peer_is_better(self) -> bool:
        """The peer's median error is smaller by more than ``TIE``."""
        return self.theirs < self.ours - TIE


def away_from(points: Iterable[Point], module: ModuleType) -> list[Point]:
    """Return the points that the authors of a peer did not collect themselves."""
    return [point for point in points if point.source not in getattr(module, "OWN_SOURCES", ())]


def pairs(points: Sequence[Point], predictions: Predictions, peers: Mapping[str, ModuleType]) -> list[Pair]:
    """Compare every peer with ours on the points that both answer, column by column, and again without its own."""
    found = []
    for peer in sorted(set(predictions) - {OURS}):
        found += _pairs(points, predictions, peer, away=False)
        others = away_from(points, peers[peer])
        if len(others) < len(points):
            found += _pairs(others, predictions, peer, away=True)
    return found


def _pairs(points: Sequence[Point], predictions: Predictions, peer: str, *, away: bool) -> list[Pair]:
    found = []
    for column in COLUMNS:
        theirs, ours = (errors(column, points, predictions[name]).by_row for name in (peer, OURS))
        both = sorted(set(theirs) & set(ours))
        if not both:
            continue
        behind = sorted((n for n in both if ours[n] > theirs[n] + TIE), key=lambda n: (theirs[n] - ours[n], n))
        a, b = (Errors(by_row={n: side[n] for n in both}).median for side in (theirs, ours))
        named = tuple(f"{n} ({theirs[n]:.0%} against {ours[n]:.0%})" for n in behind[:NAMED])
        found.append(Pair(column=column.title, peer=peer, theirs=a, ours=b, n=len(both), away=away, behind=named))
    return found
