"""Whether the autoscaler of a plan keeps its promise over a day: every model of ``dev`` and ``prod``, random problems.

``python -m benchmarks.autoscaling.benchmark [--problems 20]`` prints the table; ``--write`` also writes
``docs/reports/scaling.md`` and its picture. Each day is run three times: as planned; with engines as slow as the
throughput estimate may be wrong; and scaled by the queue, the cache and TTFT alone. Plans that tolerate a loss also
suffer it. Exits 1 when the autoscaler of a plan flaps, when fewer than 95 % of the plans meet their objectives over the
day, or when a loss breaks them.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.autoscaling.replica_model import Call
from benchmarks.autoscaling.rows import (
    DRAWN,
    FIRST_PROBLEM,
    LOSS,
    MOST_REQUESTS_PER_S,
    PLANNED,
    REACTIVE,
    SLOW,
    Row,
    row_of,
)
from benchmarks.autoscaling.service_model import Day, Fleet, Service, day_shape, simulate
from benchmarks.folders import REPORTS
from benchmarks.plans.problems import random_problem
from infra.config import settings_from_file, stack_file
from infra.request import plan_request
from infra.settings.serving import ServingSettings
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, TonnageError
from sizing.inputs import Capacity, ModelEntry
from sizing.performance.spread import spread_of
from sizing.plan import ServingPlan
from sizing.planning.planner import plan_stack
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market, Option
from sizing.planning.sensitivity import chosen_option, nodes_usd_per_hour
from sizing.planning.serving_plan import own_plan

STACKS = ("dev", "prod")


LOSS_S = 1800.0
"""When the node or the zone is lost, at the planned traffic."""


def service_of(name: str, entry: ModelEntry, capacity: Capacity, option: Option, plan: ServingPlan) -> Service:
    """Return one planned model as it is to be simulated."""

    def usd_per_hour(nodes: int) -> float:
        return nodes_usd_per_hour(nodes * option.per_node, option, capacity)

    return Service(name, entry, plan, option.engine.replica, len(option.zones), usd_per_hour)


def of_stack(stack: str, model: str) -> Service:
    """Return a model of a stack file, planned within its budget on nodes of its own."""
    settings, catalogue = _settings(stack), load_catalogue()
    apart = settings.model_copy(update={"capacity": settings.capacity.model_copy(update={"share_pools": False})})
    whole = plan_stack(plan_request(apart, stack, catalogue))
    entry = next(one for one in settings.models if one.name == model)
    plan = next(one for one in whole.models if one.name == model)
    option = chosen_option(plan, entry, Market(capacity=settings.capacity, region=settings.region, catalogue=catalogue))
    return service_of(f"{stack}, {model}", entry, settings.capacity, option, plan)


def stack_models() -> list[tuple[str, str]]:
    """Return (stack, model) of every model that the stack files serve."""
    return [(stack, entry.name) for stack in STACKS for entry in _settings(stack).models]


def _settings(stack: str) -> ServingSettings:
    settings = settings_from_file(stack_file(stack))
    if not isinstance(settings, ServingSettings):
        raise BadInput(stack, "serves nothing")
    return settings


def of_problem(seed: int) -> Service | None:
    """Return the plan of a random problem; None where there is none, or nothing to scale."""
    problem = random_problem(seed)
    if problem.entry.workload.requests_per_second > MOST_REQUESTS_PER_S:
        return None
    try:
        search = enumerate_options(
            problem.entry, Market(capacity=problem.capacity, region=problem.region, catalogue=load_catalogue()), keep=1
        )
    except TonnageError:
        return None
    if not search.options or search.options[0].replicas.floor == search.options[0].replicas.ceiling:
        return None
    plan = own_plan(problem.entry, search.options[0], problem.capacity)
    return service_of(f"problem {seed}", problem.entry, problem.capacity, search.options[0], plan)


def variants(service: Service) -> Iterator[tuple[str, Service]]:
    """Return the plan, on slower engines, and scaled by what is left without its traffic trigger."""
    slower = spread_of(service.replica.work)["tpot_ms"]["p90"]
    blind = replace(
        service.plan.scaling,
        requests_per_s=math.inf,
        ttft_s=service.entry.objectives.ttft_p95_ms / 1e3,
        ttft_quantile=0.95,
    )
    yield PLANNED, service
    yield SLOW, replace(service, slower=slower)
    yield REACTIVE, replace(service, plan=replace(service.plan, scaling=blind))


def lost(service: Service, *, lengths: str, seed: int) -> Day:
    """Return the calls that arrive after the tolerated loss at the planned traffic, until the replacement is ready."""
    tolerance, zones = service.entry.loss_tolerance, service.zones
    happened: list[float] = []

    def upset(now_s: float, fleet: Fleet) -> list[Call]:
        if happened or now_s < LOSS_S:
            return []
        happened.append(now_s)
        nodes = sorted({pod.node for pod in fleet.pods})
        return fleet.lose(nodes[::zones] if tolerance == "zone" else nodes[:1], now_s)

    workload, after = service.entry.workload, service.plan.start_up.total_s
    planned = workload.prompt_requests_per_second + workload.batch_requests_per_second
    return simulate(
        service, lambda _: planned, until_s=LOSS_S + after, from_s=LOSS_S, first=service.plan.replicas.expected,
        upset=upset, lengths=lengths, seed=seed,
    )  # fmt: skip


def judge(what: int | tuple[str, str]) -> dict[str, Row] | None:
    """Run the days of one random problem or one model of a stack, by variant; None where there is none."""
    service = of_problem(what) if isinstance(what, int) else of_stack(*what)
    if service is None:
        return None
    seed = what if isinstance(what, int) else 0
    lengths = ("exponential", "lognormal")[seed % 2]
    shape = day_shape(service.entry)
    found = {name: row_of(one, simulate(one, shape, lengths=lengths, seed=seed)) for name, one in variants(service)}
    if service.entry.loss_tolerance != "none":
        found[LOSS] = row_of(service, lost(service, lengths=lengths, seed=seed))
    return found


def judged(problems: int) -> list[dict[str, Row]]:
    """Judge every model of the stacks and the first ``problems`` random ones that have something to scale."""
    found: list[dict[str, Row]] = []
    stacks = stack_models()
    with multiprocessing.Pool() as pool:
        for one in pool.imap(judge, itertools.chain(stacks, range(FIRST_PROBLEM, FIRST_PROBLEM + 40 * problems))):
            found += [one] if one is not None else []
            if len(found) >= len(stacks) + problems:
                break
    return found


def main() -> None:
    """Print the table, write the page."""
    from benchmarks.autoscaling.plot import draw
    from benchmarks.autoscaling.report import PAGE, PICTURE, document, promises, summary

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = judged(options.problems)
    print(summary(rows))
    if options.write:
        service = of_stack(*DRAWN)
        draw(service, simulate(service, day_shape(service.entry), seed=0), REPORTS / PICTURE)
        (REPORTS / PAGE).write_text(document(rows), encoding="utf-8")
        print(f"wrote docs/reports/{PAGE} and docs/reports/{PICTURE}")
    sys.exit(not all(promise.kept for promise in promises(rows)))


if __name__ == "__main__":
    main()
