"""Random planning problems: the plan is that of trying everything, and a simulation meets its objectives."""

from __future__ import annotations

import multiprocessing

import pytest

from benchmarks.plans.brute_force import Best, cheapest
from benchmarks.plans.problems import percentile, random_problem, random_stack
from benchmarks.plans.prove import MET_SHARE, judge, judge_stack, report, report_stacks

QUICK = (0, 2, 5, 9, 13, 17, 20, 22, 76)


@pytest.mark.parametrize("seed", QUICK)
def test_a_plan_is_the_cheapest_of_all_stays_within_its_budget_and_keeps_its_promise(seed: int) -> None:
    verdict = judge(seed)
    assert verdict.same
    assert verdict.within_budget
    assert verdict.met, f"TTFT {verdict.ttft_share:.2f}, TPOT {verdict.tpot_share:.2f} of the objective"


@pytest.mark.rehearsal
def test_three_hundred_plans_equal_trying_everything_and_nineteen_in_twenty_keep_their_promise() -> None:
    with multiprocessing.Pool() as pool:
        assert report(pool.map(judge, range(300), chunksize=2))


@pytest.mark.parametrize(("seed", "shared"), [(30, 2), (14, 0)])
def test_a_stack_shares_nodes_as_the_cheapest_of_all_partitions_does(seed: int, shared: int) -> None:
    verdict = judge_stack(seed)
    assert (verdict.same, verdict.shared) == (True, shared)
    assert (verdict.usd < verdict.apart_usd) == bool(shared)


@pytest.mark.rehearsal
def test_a_hundred_stacks_cost_and_share_as_when_trying_every_partition() -> None:
    with multiprocessing.Pool() as pool:
        assert report_stacks(pool.map(judge_stack, range(100), chunksize=2))


def test_the_models_of_a_stack_have_one_capacity_and_names_of_their_own() -> None:
    stack = random_stack(2)
    assert [problem.entry.name for problem in stack] == ["m0", "m1", "m2"]
    assert len({problem.capacity for problem in stack}) == 1
    assert stack == random_stack(2) != random_stack(3)


def test_a_problem_is_the_same_each_time_and_another_one_differs() -> None:
    assert random_problem(3) == random_problem(3) != random_problem(4)


def test_of_equal_cost_the_fewest_gpus_win_and_a_limit_rules_out_higher_ceilings() -> None:
    found = [Best(2.0, 4, 3.0, "wide"), Best(2.0, 2, 9.0, "lean"), Best(5.0, 1, 5.0, "dear")]
    assert cheapest(found).name == "lean"
    assert cheapest(found, 4.0).name == "wide"
    assert cheapest(found, 1.0) is None


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.95) == 3.0
    assert percentile([3.0, 1.0, 2.0], 0.3) == 1.0
    assert MET_SHARE == 0.95
