"""Our throughput error and the peers' on the same published points; writes docs/reports/accuracy-throughput.md.

    python -m benchmarks.throughput.benchmark                    every peer; environments are made once
    python -m benchmarks.throughput.benchmark --peers none       ours only
    python -m benchmarks.throughput.benchmark --offline          never install
    python -m benchmarks.throughput.benchmark --dry-run          write nothing

Ours is refitted once for each source left out (``fit_throughput.folds``), every time that this command runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from benchmarks.folders import REPORTS
from benchmarks.memory.peers.environments import NotRun
from benchmarks.peers import parser_of
from benchmarks.throughput.fit import folds
from benchmarks.throughput.peers import PEERS, peer
from benchmarks.throughput.report import PICTURE, Results, document, targets
from benchmarks.throughput.rows import read_points
from benchmarks.throughput.score import COLUMNS, OURS, ask, case_of, errors, ours_of

PAGE = "accuracy-throughput.md"


def main() -> None:
    """Fit without each source, ask everybody, write the page, print the short of it."""
    options = parser_of(
        "throughput error of Tonnage and of its peers on published points", PEERS, REPORTS, PAGE
    ).parse_args()
    results = run([(name, peer(name)) for name in options.peers], offline=options.offline)
    if options.out:
        write(results, options.out)
    summary(results)


def run(chosen: Sequence[tuple[str, ModuleType]], *, offline: bool) -> Results:
    """Ask ours about every point of an engine since V1, the chosen peers about those with CUDA graphs.

    A peer that cannot run is noted.
    """
    points, left_out = read_points()
    asked = [point for point in points if not point.old and not point.engine.enforce_eager]  # peers know graphs only
    cases = [case_of(point) for point in asked]
    not_run: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:  # the peers are processes of their own
        waiting = {name: pool.submit(ask, name, module, cases, offline=offline) for name, module in chosen}
        found = folds(print)
        predictions = {OURS: ours_of(found)}
        for name, module in chosen:
            try:
                answers = waiting[name].result()
            except NotRun as reason:
                not_run[name] = str(reason)
                print(f"{module.NAME}: not run: {reason}", flush=True)
                continue
            predictions[name] = {point.id: answer for point, answer in zip(asked, answers, strict=True)}
            print(f"{module.NAME}: {sum(not a.refused for a in answers)} of {len(asked)} points answered", flush=True)
    return Results(
        points=points, left_out=left_out, residuals=found, predictions=predictions, peers=dict(chosen), not_run=not_run
    )


def write(results: Results, folder: Path) -> None:
    """Write the page and its picture."""
    from benchmarks.throughput.plot import draw

    (folder / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    draw(results, folder / PICTURE)
    (folder / PAGE).write_text(document(results), encoding="utf-8")
    print(f"wrote {folder.name}/{PAGE} and {folder.name}/{PICTURE}")


def summary(results: Results) -> None:
    """Print the median errors of everybody, then the promises."""
    print(f"\n{len(results.asked)} points of engines since V1, each source unseen: median error (figures)")
    for name, said in results.predictions.items():
        cells = [(column, errors(column, results.asked, said)) for column in COLUMNS]
        text = "  ".join(f"{c.title} {e.median:.1%} ({e.n})" if e.n else f"{c.title} -" for c, e in cells)
        print(f"{name:15} {text}")
    for target in targets(results):
        mark = "?" if target.kept is None else "kept" if target.kept else "NOT"
        print(f"{mark:5} {target.promise}: {target.measured}")


if __name__ == "__main__":
    main()
