"""Errors of every estimator on the recorded starts: by column, side of the split and family; no printing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.memory.cases import HYBRIDS, Start
from benchmarks.memory.peers.case import Prediction
from benchmarks.memory.rows import version_of

OURS = "tonnage"
NAMED = 3
"""Rows that are named where a peer is better."""
TIE = 0.001
"""Errors closer than this share are equal: a cache printed as 5.00 GiB is known to 0.1 %."""
Predictions = Mapping[str, Mapping[str, Prediction]]
"""By estimator, then by row."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One question with a number for an answer: which rows it is asked of, and the scale of its error."""

    key: str
    title: str
    unit: str
    """What the error is a share of."""
    measured: Callable[[Start], float | None]
    predicted: Callable[[Prediction], float | None]
    scale: Callable[[Start, float], float]

    def error(self, start: Start, prediction: Prediction) -> float | None:
        """Return the absolute error as a share of the scale; None where either side does not speak."""
        measured, predicted = self.measured(start), self.predicted(prediction)
        if measured is None or predicted is None:
            return None
        return abs(predicted - measured) / self.scale(start, measured)


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one cell, by row."""

    by_row: Mapping[str, float]

    @property
    def n(self) -> int:
        """Rows with both sides."""
        return len(self.by_row)

    @property
    def median(self) -> float:
        """Half of the rows are no worse."""
        return quantile(self.by_row.values(), 0.5)

    @property
    def p90(self) -> float:
        """Nine rows of ten are no worse."""
        return quantile(self.by_row.values(), 0.9)


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Starts that were judged, and those judged wrongly, by name."""

    judged: tuple[str, ...]
    wrong: tuple[str, ...]


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that ``share`` of the values do not exceed; NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def _of_measured(_: Start, measured: float) -> float:
    return abs(measured)


def _of_card(start: Start, _: float) -> float:
    return start.case.total_gib if start.case else math.nan


def _term(key: str, purpose: str) -> Callable[[Start], float | None]:
    def read(start: Start) -> float | None:
        value = start.measured(key)
        return value if value and start.usable(purpose) else None

    return read


def _activation(start: Start) -> float | None:
    value = start.measured("peak_activation_gib")
    # which sampler the profile run measures depends on the version
    return value if value and start.facts["engine"] == "V1" and version_of(start.facts) else None


def _cache(start: Start) -> float | None:
    return start.measured("available_kv_gib") if start.usable("kv-gib") else None


def _tokens(start: Start) -> float | None:
    return start.measured("kv_tokens") if start.usable("kv-tokens") and start.measured("available_kv_gib") else None


def _requests(start: Start) -> float | None:
    usable = start.usable("concurrency") and start.family in HYBRIDS and start.measured("available_kv_gib")
    return start.measured("max_concurrency") if usable else None


COLUMNS = (
    Column(
        key="weights", title="weights", unit="of the measured", scale=_of_measured,
        measured=_term("weights_gib_per_gpu", "weights"), predicted=lambda p: p.weights_gib,
    ),
    Column(
        key="activation", title="peak activation", unit="of the measured", scale=_of_measured,
        measured=_activation, predicted=lambda p: p.activation_gib,
    ),
    Column(
        key="cache", title="KV cache GiB", unit="of the card", scale=_of_card,
        measured=_cache, predicted=lambda p: p.kv_gib,
    ),
    Column(
        key="tokens", title="KV tokens given the GiB", unit="of the measured", scale=_of_measured,
        measured=_tokens, predicted=lambda p: p.kv_tokens,
    ),
    Column(
        key="requests", title="max_concurrency of hybrids given the GiB", unit="of the measured", scale=_of_measured,
        measured=_requests, predicted=lambda p: p.max_concurrency,
    ),
)  # fmt: skip


def errors(column: Column, starts: Iterable[Start], predictions: Mapping[str, Prediction]) -> Errors:
    """Return the errors of one estimator on those of ``starts`` where it and the log speak."""
    found = {start.name: column.error(start, predictions[start.name]) for start in starts if start.name in predictions}
    return Errors(by_row={name: error for name, error in sorted(found.items()) if error is not None})


def false_fits(starts: Iterable[Start], predictions: Mapping[str, Prediction], *, cautious: bool = False) -> Verdicts:
    """Return the recorded failures to start, and those that the estimator says fit (``cautious``: at p90 demand)."""
    return _verdicts(starts, _said(predictions, cautious=cautious), "fits-no", wrong=True)


def refused_successes(
    starts: Iterable[Start], predictions: Mapping[str, Prediction], *, cautious: bool = False
) -> Verdicts:
    """Return the recorded starts, and those that the estimator says do not fit (``cautious``: at p90 demand)."""
    return _verdicts(starts, _said(predictions, cautious=cautious), "fits-yes", wrong=False)


def _said(predictions: Mapping[str, Prediction], *, cautious: bool) -> dict[str, bool | None]:
    return {name: said.cautious if cautious else said.fits for name, said in predictions.items()}


def _verdicts(starts: Iterable[Start], said: Mapping[str, bool | None], purpose: str, *, wrong: bool) -> Verdicts:
    judged = sorted(start.name for start in starts if start.usable(purpose) and said.get(start.name) is not None)
    return Verdicts(judged=tuple(judged), wrong=tuple(name for name in judged if said[name] is wrong))


def coverage(starts: Iterable[Start], predictions: Mapping[str, Prediction]) -> Verdicts:
    """Return the rows with a predicted spread of the cache, and those whose measurement lies outside p10-p90."""
    judged, outside = [], []
    for start in starts:
        measured, prediction = _cache(start), predictions.get(start.name)
        if measured is None or prediction is None or prediction.kv_gib_p10 is None or prediction.kv_gib_p90 is None:
            continue
        judged.append(start.name)
        if not prediction.kv_gib_p10 <= measured <= prediction.kv_gib_p90:
            outside.append(start.name)
    return Verdicts(judged=tuple(sorted(judged)), wrong=tuple(sorted(outside)))


@dataclass(frozen=True, kw_only=True)
class Better:
    """A column where a peer is better than ours on the rows that both answer."""

    column: str
    peer: str
    statistic: str
    theirs: float
    ours: float
    n: int
    because: tuple[str, ...]
    """Rows on which ours is furthest behind, with both errors."""


def where_peers_are_better(starts: Sequence[Start], predictions: Predictions) -> list[Better]:
    """Compare every peer with ours pairwise, on the rows that both answer: medians, 90th percentiles, verdicts."""
    found = []
    for peer in sorted(set(predictions) - {OURS}):
        for column in COLUMNS:
            theirs, ours = (errors(column, starts, predictions[name]).by_row for name in (peer, OURS))
            both = sorted(set(theirs) & set(ours))
            because = _furthest_behind({name: (theirs[name], ours[name]) for name in both})
            for statistic, share in (("median", 0.5), ("p90", 0.9)):
                a, b = (quantile([side[name] for name in both], share) for side in (theirs, ours))
                if a < b - TIE:
                    found.append(
                        Better(
                            column=column.title, peer=peer, statistic=statistic, theirs=a, ours=b, n=len(both),
                            because=because,
                        )
                    )  # fmt: skip
        found += _better_verdicts(starts, predictions, peer)
    return sorted(found, key=lambda better: (better.column, better.peer, better.statistic))


def _furthest_behind(pairs: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    behind = sorted(
        (name for name, (a, b) in pairs.items() if b > a + TIE), key=lambda name: pairs[name][0] - pairs[name][1]
    )
    return tuple(f"{name} ({pairs[name][0]:.1%} against {pairs[name][1]:.1%})" for name in behind[:NAMED])


def _better_verdicts(starts: Sequence[Start], predictions: Predictions, peer: str) -> list[Better]:
    found = []
    for title, judge in (("false fits", false_fits), ("refused starts", refused_successes)):
        theirs, ours = judge(starts, predictions[peer]), judge(starts, predictions[OURS])
        both = set(theirs.judged) & set(ours.judged)
        a, b = both & set(theirs.wrong), both & set(ours.wrong)
        if len(a) < len(b):
            found.append(
                Better(
                    column=title, peer=peer, statistic="count", theirs=len(a), ours=len(b), n=len(both),
                    because=tuple(sorted(b - a)[:NAMED]),
                )
            )  # fmt: skip
    return found
