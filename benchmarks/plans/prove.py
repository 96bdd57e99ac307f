"""Random planning problems and stacks: the plan against trying everything, its budget, and a simulation.

Prints how many plans equal the brute force (cost and GPUs), how many bills are above their budget (none may be), in
what share of the plans a simulated replica meets both objectives at the planned traffic, and each miss with its size.
Then of random stacks of two or three models, which may share nodes, how many cost and share as the brute force does.
``python -m benchmarks.plans.prove [--problems 300] [--stacks 100]``; exits 1 when a plan differs from the brute force
or is above its budget, or the share is below 95 %.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from dataclasses import dataclass

from benchmarks.plans.brute_force import Best, brute_force, cheapest, cheapest_stack
from benchmarks.plans.problems import Problem, observe, percentile, random_problem, random_stack, requests_of
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, NoPlan, OverBudget
from sizing.inputs import Budget, Capacity
from sizing.performance.queueing import traffic_for
from sizing.plan import StackPlan
from sizing.planning.planner import plan_model, plan_stack
from sizing.planning.request import PlanRequest
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market, Option
from sizing.units import HOURS_PER_MONTH

MET_SHARE = 0.95
REQUESTS = (400, 1500)
"""Fewest and most requests of one simulation; between, forty for each one in flight. Of burstier arrivals as many more
as their counts vary more."""


@dataclass(frozen=True)
class Verdict:
    """What became of one problem."""

    seed: int
    name: str
    """The plan, or nothing where there is none."""
    same: bool
    within_budget: bool
    priced: bool = True
    """Whether the catalogue has prices of the region."""
    ttft_share: float = 0.0
    """Simulated 95th percentile over the objective."""
    tpot_share: float = 0.0
    ttft_over_formula: float = 1.0
    """Simulated over predicted 95th percentile, the latter without the margin for the error of the roofline."""
    tpot_over_formula: float = 1.0

    @property
    def met(self) -> bool:
        """Return whether the simulation met both objectives."""
        return max(self.ttft_share, self.tpot_share) <= 1.0


def judge(seed: int) -> Verdict:
    """Plan the problem of ``seed``, try everything, halve the way to the lowest ceiling, and simulate."""
    problem, catalogue = random_problem(seed), load_catalogue()
    try:
        option = _chosen(problem)
    except BadInput as error:
        return Verdict(seed, "", same=True, within_budget=True, priced=error.where != "region")
    except NoPlan:
        option = None
    every = brute_force(problem, catalogue)
    best = cheapest(every)
    if option is None:
        return Verdict(seed, "", same=best is None, within_budget=True)
    same = best is not None and _same(option, best)
    same = same and _same_within_a_budget(problem, every, option)
    within = _within_its_budget(problem)
    name = f"{option.engine.name} on {option.instance.instance_type} x{option.replicas.expected}"
    return Verdict(seed, name, same, within, True, *_simulated(problem, option, seed))


def _chosen(problem: Problem) -> Option:
    options = enumerate_options(
        problem.entry, Market(capacity=problem.capacity, region=problem.region, catalogue=load_catalogue()), keep=1
    ).options
    if not options:
        raise NoPlan("problem", "no option")
    return options[0]


def _same(option: Option, best: Best) -> bool:
    return abs(option.usd_per_hour.expected - best.usd) < 1e-6 and option.gpus == best.gpus


def _same_within_a_budget(problem: Problem, every: list[Best], first: Option) -> bool:
    """Plan again under a ceiling between the lowest and that of the first choice."""
    leanest = min(one.ceiling_usd for one in every)
    limit = (leanest + first.usd_per_hour.ceiling) / 2
    options = enumerate_options(
        problem.entry, Market(capacity=problem.capacity, region=problem.region, catalogue=load_catalogue()), keep=1
    ).options
    fitting = [option for option in options if option.usd_per_hour.ceiling <= limit + 1e-9]
    best = cheapest(every, limit)
    return (not fitting and best is None) or (bool(fitting) and best is not None and _same(fitting[0], best))


def _within_its_budget(problem: Problem) -> bool:
    """Plan within nine tenths of the cheapest plan's ceiling: within it, or refused."""
    arguments = (problem.entry, Market(capacity=problem.capacity, region=problem.region, catalogue=load_catalogue()))
    limit = 0.9 * plan_model(*arguments).chosen.usd_per_hour.ceiling * HOURS_PER_MONTH
    try:
        return plan_model(*arguments, max_monthly_usd=limit).chosen.usd_per_hour.ceiling * HOURS_PER_MONTH <= limit
    except OverBudget:
        return True


def _simulated(problem: Problem, option: Option, seed: int) -> tuple[float, float, float, float]:
    entry, replica = problem.entry, option.engine.replica
    rate = entry.workload.prompt_requests_per_second / (option.replicas.expected - option.replicas.batch)
    traffic = traffic_for(replica, entry.workload, rate, option.engine.most)
    share = min(rate / entry.workload.arrivals_per_second, 1.0)
    bursts = max(1 + share * (1 / entry.workload.burstiness - 1), 1.0)
    count = int(min(max(REQUESTS[0], 40 * traffic.concurrency), REQUESTS[1]) * bursts)
    shape = ("exponential", "lognormal")[seed % 2]
    longest = option.engine.settings.max_model_len
    requests = requests_of(entry.workload, rate / replica.stages, longest, count, shape=shape, seed=seed)
    seen = observe(replica, requests)
    return (
        seen.ttft_p95_ms / entry.objectives.ttft_p95_ms,
        seen.tpot_p95_ms / entry.objectives.tpot_p95_ms,
        seen.ttft_p95_ms / traffic.requests_ttft_p95_ms,
        seen.tpot_p95_ms / traffic.requests_tpot_p95_ms,
    )


@dataclass(frozen=True)
class StackVerdict:
    """What became of one stack: USD per hour of its nodes, the same apart, and models on shared nodes."""

    seed: int
    same: bool
    usd: float = 0.0
    apart_usd: float = 0.0
    shared: int = 0


def judge_stack(seed: int) -> StackVerdict:
    """Plan the stack of ``seed`` with and without sharing, and try everything."""
    problems, catalogue = random_stack(seed), load_catalogue()
    best = cheapest_stack(problems, catalogue)
    try:
        plan = _planned(problems, problems[0].capacity)
        apart = _planned(problems, problems[0].capacity.model_copy(update={"share_pools": False}))
    except NoPlan:
        return StackVerdict(seed, same=best is None)
    usd, shared = _nodes_usd(plan), sum(len(one.models) for one in plan.shared)
    same = best is not None and abs(usd - best[0]) < 1e-5 and shared == best[1]
    return StackVerdict(seed, same, usd, _nodes_usd(apart), shared)


def _planned(problems: list[Problem], capacity: Capacity) -> StackPlan:
    entries, budget = [problem.entry for problem in problems], Budget(monthly_usd=1e9)
    request = PlanRequest(
        stack="random", models=tuple(entries), capacity=capacity, budget=budget, region=problems[0].region,
        catalogue=load_catalogue(), vector_store=None, internet_facing=False,
 gateway_proxies=2,
    )  # fmt: skip
    return plan_stack(request)


def _nodes_usd(plan: StackPlan) -> float:
    return sum(pool.usd_per_hour.expected for pool in plan.pools)


def report_stacks(verdicts: list[StackVerdict]) -> bool:
    """Print the figures of the stacks; return whether they are as good as they must be."""
    plans = [one for one in verdicts if one.usd]
    sharing = [one for one in plans if one.shared]
    different = [one for one in verdicts if not one.same or one.usd > one.apart_usd + 1e-6]
    print(f"stacks {len(verdicts)}, with a plan {len(plans)}, of which {len(sharing)} share nodes")
    if sharing:
        saved = sorted(1 - one.usd / one.apart_usd for one in sharing)
        print(f"sharing saves {saved[len(saved) // 2]:.0%} of the expected cost of nodes (median of those)")
    print(f"stacks that cost and share as when trying everything: {len(verdicts) - len(different)} of {len(verdicts)}")
    for one in different:
        print(f"different: stack {one.seed}, {one.usd:.4f} USD/h")
    return not different


def report(verdicts: list[Verdict]) -> bool:
    """Print the figures; return whether they are as good as they must be."""
    plans = [one for one in verdicts if one.name]
    met = [one for one in plans if one.met]
    different = [one for one in verdicts if not one.same]
    beyond = [one for one in plans if not one.within_budget]
    unpriced = sum(not one.priced for one in verdicts)
    print(
        f"problems {len(verdicts)}, with a plan {len(plans)}; refused {len(verdicts) - len(plans)}, "
        f"of them {unpriced} in a region without prices"
    )
    print(f"same as trying everything: {len(verdicts) - len(different)} of {len(verdicts)}")
    print(f"above the budget: {len(beyond)}")
    print(f"simulation meets both objectives: {len(met)} of {len(plans)} ({100 * len(met) / len(plans):.1f} %)")
    for what in ("ttft", "tpot"):
        ratios = [getattr(one, f"{what}_over_formula") for one in plans]
        told = ", ".join(f"p{share} {percentile(ratios, share / 100):.2f}" for share in (5, 25, 50, 75, 95))
        print(f"{what} p95, simulated over formula: {told}")
    for one in sorted(set(plans) - set(met), key=lambda one: -max(one.ttft_share, one.tpot_share)):
        print(f"missed: problem {one.seed}, {one.name}: TTFT {one.ttft_share:.2f}, TPOT {one.tpot_share:.2f} of it")
    for one in (*different, *beyond):
        print(f"different or beyond: problem {one.seed} {one.name}")
    return not different and not beyond and len(met) >= MET_SHARE * len(plans)


def main() -> None:
    """Print the figures of the problems and of the stacks 0 to N - 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--stacks", type=int, default=100)
    wanted = parser.parse_args()
    with multiprocessing.Pool() as pool:
        verdicts = pool.map(judge, range(wanted.problems), chunksize=2)
        stacks = pool.map(judge_stack, range(wanted.stacks), chunksize=2)
    sys.exit(not all([report(verdicts), report_stacks(stacks)]))


if __name__ == "__main__":
    main()
