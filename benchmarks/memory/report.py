"""docs/reports/accuracy.md, from scores alone: every figure of the page is computed here, none is written by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from benchmarks.memory.cases import Start
from benchmarks.memory.peers.case import Prediction
from benchmarks.memory.score import (
    COLUMNS,
    OURS,
    TIE,
    Column,
    Predictions,
    Verdicts,
    coverage,
    errors,
    false_fits,
    refused_successes,
    where_peers_are_better,
)

PICTURE = "pictures/accuracy.svg"
WORST = 3
VERDICTS = ("false fits", "refused starts", "p10-p90 holds")
INTRODUCTION = """# How far off the memory estimate is

Written by `make benchmark-memory`; nothing on this page is typed by hand. Every estimator is asked about the same
recorded vLLM starts (`benchmarks/data/memory-logs.jsonl`: public logs, issues and notebooks; none was run for this
page). The constants of ours are fitted on one side of a split by family and source; the first tables show the side
that was **not** fitted. An error is the absolute difference as a share of what the column names; a cell reads
`median / 90th percentile (rows)`. A peer is compared only where it answers: a dash means that it has no such figure.

No hub is reached. Peers that read a checkpoint there get its bytes as ours counts them from the shapes (where ours
refuses the model: two bytes a parameter of unquantised models), so on weights they differ from ours by what they do
with a checkpoint, not by how they read it. Every estimator gets the total that CUDA reports for the card.
"""

BETTER = """The tables above have other rows for every estimator: each answers what it can. Here each peer stands
against ours on the rows that both answer, on the side that was not fitted.
"""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A promise about one figure of ours, and whether it is kept."""

    promise: str
    measured: str
    kept: bool | None
    """None where no row has the figure."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the page needs."""

    starts: Sequence[Start]
    predictions: Predictions
    peers: Mapping[str, ModuleType]
    not_run: Mapping[str, str] = field(default_factory=dict)
    """Peers without an answer, with the reason."""

    @property
    def held_out(self) -> list[Start]:
        """The side of the split that was not fitted."""
        return [start for start in self.starts if not start.fitted]

    def label(self, name: str) -> str:
        """Return how the tables call an estimator."""
        return "**Tonnage**" if name == OURS else str(self.peers[name].NAME)


def percent(share: float) -> str:
    """Format a share with as many digits as it deserves."""
    if math.isnan(share):
        return "-"
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def document(results: Results) -> str:
    """Return the whole page."""
    parts = [
        INTRODUCTION,
        "## What is promised, on the side that was not fitted\n",
        table(("promise", "measured", "kept"), ([t.promise, t.measured, _kept(t)] for t in targets(results))),
        "## Side by side, on the side that was not fitted\n",
        side_by_side(results, results.held_out),
        f"![predicted against measured]({PICTURE})\n",
        "## Side by side, all rows\n",
        side_by_side(results, results.starts),
        "## By family, ours\n",
        by_family(results),
        *_by_family_and_peer(results),
        "## Where a peer is better, and on which rows\n",
        BETTER,
        better(results),
        "## Recorded failures to start\n",
        failures(results),
        "## Starts that ours refuses\n",
        refusals(results),
        "## Largest errors of ours\n",
        largest(results),
        "## Rows left out\n",
        left_out(results),
        "## The estimators\n",
        estimators(results),
    ]
    return "\n".join(parts)


def _kept(target: Target) -> str:
    return "no row can tell" if target.kept is None else "yes" if target.kept else "**no**"


def targets(results: Results) -> list[Target]:
    """Return the promises of the estimator with what was measured on the side that was not fitted."""
    ours, held = results.predictions[OURS], results.held_out
    found = []
    for key, statistic, limit in (
        ("weights", "median", 0.01), ("weights", "p90", 0.03), ("activation", "median", 0.15),
        ("cache", "median", 0.03), ("cache", "p90", 0.06), ("tokens", "p90", 0.003), ("requests", "p90", 0.01),
    ):  # fmt: skip
        column = next(column for column in COLUMNS if column.key == key)
        cell = errors(column, held, ours)
        value = cell.median if statistic == "median" else cell.p90
        promise = f"{column.title}: {statistic} <= {percent(limit)} {column.unit}"
        kept = None if not cell.n else value <= limit
        found.append(Target(promise=promise, measured=f"{percent(value)} ({cell.n} rows)", kept=kept))
    return [*found, *_verdict_targets(ours, held)]


def _verdict_targets(ours: Mapping[str, Prediction], held: Sequence[Start]) -> list[Target]:
    wrong, refused = false_fits(held, ours, cautious=True), refused_successes(held, ours)
    spread = coverage(held, ours)
    inside = 1 - len(spread.wrong) / len(spread.judged) if spread.judged else math.nan
    return [
        Target(
            promise="recorded failures said to fit at p90 demand: none",
            measured=_count(wrong),
            kept=not wrong.wrong if wrong.judged else None,
        ),
        Target(
            promise="successful starts refused: at most 5.0%",
            measured=_count(refused),
            kept=len(refused.wrong) <= 0.05 * len(refused.judged) if refused.judged else None,
        ),
        Target(
            promise="p10-p90 of the KV cache holds 75% to 90% of the measurements",
            measured=f"{percent(inside)} ({len(spread.judged)} rows)",
            kept=0.75 <= inside <= 0.9 if spread.judged else None,
        ),
    ]


def side_by_side(results: Results, starts: Sequence[Start]) -> str:
    """Return the table of every estimator by column on some rows."""
    head = [
        "",
        *(f"{column.title}, {column.unit}" for column in COLUMNS),
        *VERDICTS,
    ]
    rows = []
    for name in (OURS, *results.peers):
        if name in results.not_run:
            rows.append([results.label(name), f"not run: {results.not_run[name]}", *[""] * (len(head) - 2)])
            continue
        said = results.predictions[name]
        cells = [cell(column, starts, said) for column in COLUMNS]
        verdicts = [_both(judge, starts, said) for judge in (false_fits, refused_successes)]
        rows.append([results.label(name), *cells, *verdicts, _holds(starts, said)])
    return table(head, rows)


def cell(column: Column, starts: Iterable[Start], said: Mapping[str, Prediction]) -> str:
    """Return one cell: median / p90 (rows)."""
    found = errors(column, starts, said)
    return f"{percent(found.median)} / {percent(found.p90)} ({found.n})" if found.n else "-"


def _both(judge: Callable[..., Verdicts], starts: Sequence[Start], said: Mapping[str, Prediction]) -> str:
    plain = _count(judge(starts, said))
    has_spread = any(prediction.fits_at_p90 is not None for prediction in said.values())
    return f"{plain} (at p90 demand {_count(judge(starts, said, cautious=True))})" if has_spread else plain


def _holds(starts: Iterable[Start], said: Mapping[str, Prediction]) -> str:
    spread = coverage(starts, said)
    return f"{len(spread.judged) - len(spread.wrong)} of {len(spread.judged)}" if spread.judged else "-"


def _count(verdicts: Verdicts) -> str:
    return f"{len(verdicts.wrong)} of {len(verdicts.judged)}" if verdicts.judged else "-"


def by_family(results: Results) -> str:
    """Return ours by family and column: the side that was not fitted, then all rows."""
    ours, rows = results.predictions[OURS], []
    for family in _families(results):
        for side, starts in (("not fitted", results.held_out), ("all", results.starts)):
            chosen = [start for start in starts if start.family == family]
            cells = [cell(column, chosen, ours) for column in COLUMNS]
            rows.append(
                [family, side, *cells, _count(false_fits(chosen, ours)), _count(refused_successes(chosen, ours))]
            )
    return table(("family", "rows", *(column.title for column in COLUMNS), *VERDICTS), rows)


def _families(results: Results) -> list[str]:
    return sorted({start.family for start in results.starts})


def _by_family_and_peer(results: Results) -> list[str]:
    names = [name for name in (OURS, *results.peers) if name not in results.not_run]
    parts = []
    for column in (column for column in COLUMNS if column.key in {"weights", "cache", "tokens"}):
        rows = []
        for family in _families(results):
            chosen = [start for start in results.starts if start.family == family]
            cells = [errors(column, chosen, results.predictions[name]) for name in names]
            texts = [f"{percent(found.median)} ({found.n})" if found.n else "-" for found in cells]
            rows += [[family, *texts]] if set(texts) != {"-"} else []
        parts.append(f"### {column.title}: median error {column.unit} by family, all rows\n")
        parts.append(table(("family", *(results.label(name) for name in names)), rows))
    return parts


def better(results: Results) -> str:
    """Say by column and peer where ours is worse on the rows that both answer, and which rows make it so."""
    found = where_peers_are_better(results.held_out, results.predictions)
    if not found:
        return f"Nowhere: on the rows that both answer, no peer is better by more than {percent(TIE)}.\n"
    rows = []
    for item in found:
        figures = (f"{item.theirs:.0f}", f"{item.ours:.0f}") if item.statistic == "count" else (
            percent(item.theirs), percent(item.ours)
        )  # fmt: skip
        why = "; ".join(item.because) or "small differences on many rows"
        rows.append([item.column, results.label(item.peer), item.statistic, *figures, str(item.n), why])
    head = ("column", "peer", "statistic", "peer's", "ours", "rows of both", "rows where ours is furthest behind")
    note = f"Differences up to {percent(TIE)} are called equal: the logs round to two decimals.\n"
    return f"{table(head, rows)}\n{note}"


def failures(results: Results) -> str:
    """Return every recorded failure by name with each estimator's verdict; "fits" is the wrong one."""
    names = [name for name in (OURS, *results.peers) if name not in results.not_run]
    rows = []
    for start in (start for start in results.starts if start.usable("fits-no")):
        said = [results.predictions[name].get(start.name) for name in names]
        verdicts = [_verdict(prediction) for prediction in said]
        rows.append([start.name, "fitted" if start.fitted else "not fitted", *verdicts])
    text = table(("start that failed", "side", *(results.label(name) for name in names)), rows)
    return f"{text}\nAt p90 demand: the smaller end of the predicted KV cache must hold one request of max_model_len.\n"


def _verdict(prediction: Prediction | None) -> str:
    if prediction is None or prediction.fits is None:
        return "-"
    if not prediction.fits:
        return "no"
    return "**fits**" if prediction.cautious else "**fits**, not at p90 demand"


def refusals(results: Results) -> str:
    """List the recorded starts that ours says do not fit, with the figures."""
    ours = results.predictions[OURS]
    wrong = refused_successes(results.starts, ours).wrong
    if not wrong:
        return "None.\n"
    rows = []
    for start in (start for start in results.starts if start.name in wrong):
        measured = start.measured("available_kv_gib")
        said = ours[start.name].kv_gib
        rows.append([
            start.name, "fitted" if start.fitted else "not fitted",
            "-" if said is None else f"{said:.2f}", "-" if measured is None else f"{measured:.2f}",
            ours[start.name].binding,
        ])  # fmt: skip
    return table(("start", "side", "KV cache predicted, GiB", "measured, GiB", "what binds"), rows)


def largest(results: Results) -> str:
    """Return the rows on which ours is furthest off, by column, over all rows."""
    sides = {start.name: "fitted" if start.fitted else "not fitted" for start in results.starts}
    rows = []
    for column in COLUMNS:
        found = errors(column, results.starts, results.predictions[OURS]).by_row
        worst = sorted(found, key=lambda name: (-found[name], name))[:WORST]
        rows += [[column.title, name, sides[name], percent(found[name])] for name in worst]
    return table(("column", "row", "side", "error"), rows)


def left_out(results: Results) -> str:
    """Return how many rows no estimator or ours cannot be asked about, and why; then what each column can use."""
    reasons = Counter(start.left_out for start in results.starts if start.left_out)
    total = len(results.starts)
    rows = [[reason, str(count)] for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))]
    used = []
    for column in COLUMNS:
        asked = [start for start in results.starts if column.measured(start) is not None]
        ours = errors(column, asked, results.predictions[OURS]).n
        used.append(
            [column.title, str(total), str(total - len(asked)), str(len(asked)), str(ours), str(len(asked) - ours)]
        )
    head = ("column", "rows", "no figure that can be compared", "asked", "ours answers", "ours does not")
    return f"{table(('reason', 'rows'), rows)}\n{table(head, used)}"


def estimators(results: Results) -> str:
    """Return who was asked, at which version, how, and how many rows each answered."""
    asked = sum(start.case is not None for start in results.starts)
    rows = []
    for name, module in results.peers.items():
        version = module.VERSION[:12]
        if name in results.not_run:
            rows.append([module.NAME, version, module.LICENCE, module.FED, f"not run: {results.not_run[name]}", ""])
            continue
        said = results.predictions[name].values()
        refused = Counter(p.refused for p in said if p.refused)
        why = "; ".join(f"{reason}: {n}" for reason, n in sorted(refused.items(), key=lambda item: (-item[1], item[0])))
        answered = sum(not p.refused for p in said)
        rows.append([f"[{module.NAME}]({module.SOURCE})" if "://" in module.SOURCE else module.NAME,
                     version, module.LICENCE, module.FED, f"{answered} of {asked}", why or "-"])  # fmt: skip
    return table(("estimator", "version", "licence", "how it was fed", "rows answered", "rows refused"), rows)
