"""Our plan and every peer's pick on six workloads; writes docs/reports/plans-compared.md and its picture.

python -m benchmarks.plans.benchmark                    every peer; environments are made once
python -m benchmarks.plans.benchmark --peers none       ours only
python -m benchmarks.plans.benchmark --offline          never install
python -m benchmarks.plans.benchmark --dry-run          write nothing
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.folders import REPORTS
from benchmarks.memory.peers.environments import NotRun
from benchmarks.peers import parser_of
from benchmarks.plans.ask import ask, question_for
from benchmarks.plans.judge import Standing, judge_plan, standing
from benchmarks.plans.peers import PEERS, peer
from benchmarks.plans.peers.question import Answer
from benchmarks.plans.report import PICTURE, Compared, Results, document, targets
from benchmarks.plans.workloads import CAPACITY, CASES, REGION, PlanCase, plan_catalogue
from sizing.planning.planner import plan_model
from sizing.planning.search.options import Market

PAGE = "plans-compared.md"
SPOT_SHARE = 0.5
ALTERNATIVES = 5
WORKERS = 2


def main() -> None:
    """Plan, ask everybody, judge, write the page, print the short of it."""
    options = parser_of("our plan beside the peers' picks on six workloads", PEERS, REPORTS, PAGE).parse_args()
    results = run(options.peers, offline=options.offline)
    if options.out:
        write(results, options.out)
    short(results)


def run(chosen: Sequence[str], *, offline: bool, cases: Sequence[PlanCase] = CASES) -> Results:
    """Ask the chosen peers about every case and judge all answers; a peer that cannot run is noted."""
    questions, said, not_run = [question_for(case) for case in cases], {}, {}
    for name in chosen:
        try:
            said[name] = ask(name, peer(name), questions, offline=offline)
        except NotRun as reason:
            not_run[name] = str(reason)
            said[name] = [Answer(refused="not run")] * len(cases)
    by_case = [(case, {name: answers[index] for name, answers in said.items()}) for index, case in enumerate(cases)]
    with multiprocessing.Pool(WORKERS) as pool:
        compared = pool.starmap(compare, by_case, chunksize=1)
    return Results(compared=compared, peers={name: peer(name) for name in chosen}, not_run=not_run)


def compare(case: PlanCase, answers: Mapping[str, Answer]) -> Compared:
    """Plan one case and judge the plan and every answer."""
    result = plan_model(
        case.entry, Market(capacity=CAPACITY, region=REGION, catalogue=plan_catalogue()), top=ALTERNATIVES
    )
    mixed = CAPACITY.model_copy(update={"spot_share": SPOT_SHARE})
    on_spot = plan_model(case.entry, Market(capacity=mixed, region=REGION, catalogue=plan_catalogue()), top=0).chosen
    ours, fewest = judge_plan(case, result.chosen)
    return Compared(
        case=case,
        plan=result.chosen,
        alternatives=result.alternatives,
        ours=ours,
        ours_fewest=fewest,
        spot_usd_per_hour=on_spot.usd_per_hour.expected,
        peers={
            name: standing(case, answer.picks) if answer.picks else Standing(reason=answer.refused)
            for name, answer in answers.items()
        },
    )


def write(results: Results, folder: Path) -> None:
    """Write the page and its picture."""
    from benchmarks.plans.plot import draw

    (folder / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    draw(results, folder / PICTURE)
    (folder / PAGE).write_text(document(results), encoding="utf-8")
    print(f"wrote {folder.name}/{PAGE} and {folder.name}/{PICTURE}")


def short(results: Results) -> None:
    """Print a line for each workload and planner, then the promises."""
    for one in results.compared:
        print(f"\n{one.case.title}: USD per million output tokens, USD/h, simulated TTFT and TPOT p95 over objective")
        fewest = {"ours, fewest": one.ours_fewest} if one.ours_fewest else {}
        for name, fleet in {"tonnage": one.ours, **fewest, **one.fleets}.items():
            what = f"{fleet.nodes} x {fleet.instance_type} {fleet.replicas} x TP{fleet.pick.tensor_parallel}"
            shares = f"{fleet.ttft_share:.2f} {fleet.tpot_share:.2f} slow {fleet.slow_share:.2f}"
            print(f"{name:18} {one.per_million(fleet):8.3f} {fleet.usd_per_hour:8.2f}  {shares}  {what}")
        for name, said in one.peers.items():
            if said.fleet is None:
                print(f"{name:18}        -  {said.reason}")
    for target in targets(results):
        mark = "?" if target.kept is None else "kept" if target.kept else "NOT"
        print(f"{mark:5} {target.promise}: {target.measured}")


if __name__ == "__main__":
    main()
