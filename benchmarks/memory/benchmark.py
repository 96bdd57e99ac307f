"""Our memory error and the peers' on the same recorded starts; writes docs/reports/accuracy.md and its picture.

    python -m benchmarks.memory.benchmark                    every peer; environments are made once
    python -m benchmarks.memory.benchmark --peers none       ours only
    python -m benchmarks.memory.benchmark --offline          never install or clone
    python -m benchmarks.memory.benchmark --sources FOLDER   check the constants of the rules in clones found there

``FOLDER`` holds (or gets, unless ``--offline``) a clone per repository of a rule, named like the last part of its
address; the lines that a rule was written from must stand in the pinned commit.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks.folders import REPORTS
from benchmarks.memory.cases import Start, read_starts
from benchmarks.memory.peers import PEERS, peer
from benchmarks.memory.peers.case import Prediction
from benchmarks.memory.peers.environments import NotRun, ask
from benchmarks.memory.report import PICTURE, Results, document, targets
from benchmarks.memory.score import COLUMNS, OURS, errors
from benchmarks.peers import parser_of

CLONE_S = 300


def main() -> None:
    """Ask everybody, write the page, print the short of it."""
    options = _options()
    results = run([(name, peer(name)) for name in options.peers], offline=options.offline)
    if options.sources:
        for module in results.peers.values():
            check_source(module, options.sources, offline=options.offline)
    if options.out:
        write(results, options.out)
    summary(results)


def _options() -> argparse.Namespace:
    parser = parser_of("memory error of Tonnage and of its peers on recorded starts", PEERS, REPORTS, "accuracy.md")
    parser.add_argument("--sources", type=Path, help="folder with clones of the repositories that rules are read from")
    return parser.parse_args()


def run(chosen: Sequence[tuple[str, ModuleType]], *, offline: bool) -> Results:
    """Ask ours and the chosen peers about every row; a peer that cannot run is noted with its reason."""
    starts = read_starts()
    cases = [start.case for start in starts if start.case is not None]
    print(f"{len(starts)} recorded starts, {len(cases)} with a config; ours answers {_answered(starts)}", flush=True)
    predictions: dict[str, dict[str, Prediction]] = {OURS: {s.name: s.ours for s in starts if s.ours is not None}}
    not_run: dict[str, str] = {}
    for name, module in chosen:
        try:
            answers = ask(name, module, cases, offline=offline)
        except NotRun as reason:
            not_run[name] = str(reason)
            print(f"{module.NAME}: not run: {reason}", flush=True)
            continue
        predictions[name] = {case.name: answer for case, answer in zip(cases, answers, strict=True)}
        print(
            f"{module.NAME}: {sum(not answer.refused for answer in answers)} of {len(cases)} rows answered", flush=True
        )
    return Results(starts=starts, predictions=predictions, peers=dict(chosen), not_run=not_run)


def _answered(starts: Sequence[Start]) -> int:
    return sum(start.ours is not None for start in starts)


def check_source(module: ModuleType, folder: Path, *, offline: bool) -> None:
    """Print how many of the lines that a rule was written from stand in its repository at the pinned commit."""
    if not hasattr(module, "QUOTES"):
        return
    clone = folder / module.SOURCE.rsplit("/", 1)[-1]
    if not clone.exists() and not offline:
        command = ["git", "clone", "-q", "--filter=blob:none", "--no-checkout", module.SOURCE, str(clone)]
        subprocess.run(command, check=False, timeout=CLONE_S)
    show = ["git", "-C", str(clone), "show", f"{module.VERSION}:{module.FILE}"]
    shown = subprocess.run(show, capture_output=True, text=True, check=False)
    if shown.returncode:
        print(f"{module.NAME}: source not checked: {shown.stderr.strip().splitlines()[-1]}")
        return
    text = " ".join(shown.stdout.split())
    missing = [quote for quote in module.QUOTES if quote not in text]
    print(f"{module.NAME}: {len(module.QUOTES) - len(missing)} of {len(module.QUOTES)} lines stand in {module.FILE}")
    for quote in missing:
        print(f"  missing: {quote}")


def write(results: Results, folder: Path) -> None:
    """Write the page and its picture."""
    from benchmarks.memory.plot import draw

    (folder / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    draw(results, folder / PICTURE)
    (folder / "accuracy.md").write_text(document(results), encoding="utf-8")
    print(f"wrote {folder.name}/accuracy.md and {folder.name}/{PICTURE}")


def summary(results: Results) -> None:
    """Print the errors of the side that was not fitted, then the promises."""
    held = results.held_out
    print(f"\nside that was not fitted ({len(held)} rows): median / p90 (rows)")
    for name, said in results.predictions.items():
        cells = [errors(column, held, said) for column in COLUMNS]
        text = "  ".join(
            f"{column.key} {found.median:.1%} / {found.p90:.1%} ({found.n})" if found.n else f"{column.key} -"
            for column, found in zip(COLUMNS, cells, strict=True)
        )
        print(f"{name:24} {text}")
    for target in targets(results):
        mark = "?" if target.kept is None else "kept" if target.kept else "NOT"
        print(f"{mark:5} {target.promise}: {target.measured}")


if __name__ == "__main__":
    main()
