"""What the planner is asked and cannot answer: one line that says what works instead."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from pydantic import ValidationError

from sizing.catalogue import load_catalogue
from sizing.cost.document import plan_costs
from sizing.errors import BadInput, NoPlan, OverBudget, TonnageError
from sizing.inputs import Budget, Capacity, ModelEntry
from sizing.planning.planner import PlanResult, plan_model, plan_stack
from sizing.planning.search.options import Market
from sizing.units import HOURS_PER_MONTH
from sizing.workload.workload import Objectives, Workload
from tests.support.plans import plan_request
from tests.support.seeds import reseeded
from tests.support.yardstick import cpu_seconds

CATALOGUE = load_catalogue()
SMALL = "meta-llama/Llama-3.1-8B-Instruct"


def entry(*, rate: float = 2.0, tokens: tuple[int, int] = (900, 250), name: str = "chat", **more: object) -> ModelEntry:
    workload = Workload(requests_per_second=rate, input_tokens=tokens[0], output_tokens=tokens[1])
    return ModelEntry(name=name, model=SMALL, workload=workload, **more)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValidationError, match="requests_per_second"):
        entry(rate=rate)


@pytest.mark.parametrize("tokens", [(0, 250), (900, 0), (-5, 250), (10**9, 250)])
def test_lengths_that_are_none_are_refused(tokens: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="_tokens"):
        entry(tokens=tokens)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_of_spot_outside_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(ValidationError, match="spot_share"):
        Capacity(spot_share=share)


@pytest.mark.parametrize(
    ("one", "capacity", "region", "error", "code", "words"),
    [
        (entry(tokens=(200_000, 10)), Capacity(), "us-east-1", BadInput, 2, "131072 tokens"),
        (entry(), Capacity(), "mars-north-1", BadInput, 2, "has no prices"),
        (entry(), Capacity(gpus=("L4",)), "eu-west-1", NoPlan, 3, "not sold in eu-west-1"),
        (entry(objectives=Objectives(tpot_p95_ms=0.1)), Capacity(), "us-east-1", NoPlan, 3, "best reachable is TTFT"),
        (entry(rate=99_999.0), Capacity(gpus=("T4",)), "us-east-1", NoPlan, 3, "."),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_said_in_one_line(  # noqa: PLR0917
    one: ModelEntry, capacity: Capacity, region: str, error: type[TonnageError], code: int, words: str
) -> None:
    with pytest.raises(error, match=words) as refused:
        plan_model(one, Market(capacity=capacity, region=region, catalogue=CATALOGUE))
    assert "\n" not in refused.value.line()
    assert refused.value.exit_code == code


def test_objectives_that_nobody_meets_are_met_when_loosened_to_the_best_that_was_named() -> None:
    with pytest.raises(NoPlan, match="TPOT p95") as refused:
        plan_model(
            entry(objectives=Objectives(tpot_p95_ms=0.1)),
            Market(capacity=Capacity(zones=1), region="us-east-1", catalogue=CATALOGUE),
        )
    best = float(str(refused.value).split("TPOT p95 ")[1].split(" ms")[0]) + 0.1
    loosened = entry(rate=0.01, objectives=Objectives(ttft_p95_ms=60_000, tpot_p95_ms=best))
    assert plan_model(
        loosened, Market(capacity=Capacity(zones=1), region="us-east-1", catalogue=CATALOGUE)
    ).chosen.meets


def test_too_small_a_budget_names_the_smallest_that_works_and_what_would_give_way() -> None:
    with pytest.raises(OverBudget) as refused:
        plan_stack(plan_request([entry(rate=30)], budget=Budget(monthly_usd=10)))
    line = refused.value.line()
    assert "the smallest budget that works is" in line
    assert "peakFactor 1 needs" in line
    assert "\n" not in line


def test_the_plan_is_the_same_under_another_hash_seed() -> None:
    script = (
        "from tests.sizing.planning.test_planner_input import entry, CATALOGUE, Capacity, Market, plan_model;"
        "print(plan_model(entry(allow_fp8_kv_cache=True), Market(capacity=Capacity(zones=1), region='us-east-1',"
        "catalogue=CATALOGUE)))"
    )
    called = [sys.executable, "-c", script]
    printed = subprocess.run(called, env=reseeded(), capture_output=True, text=True, check=True).stdout
    here = plan_model(
        entry(allow_fp8_kv_cache=True), Market(capacity=Capacity(zones=1), region="us-east-1", catalogue=CATALOGUE)
    )
    assert printed == f"{here}\n"


def test_planning_fifty_models_takes_no_more_than_three_times_as_long_a_model_as_five() -> None:
    def took(count: int) -> float:
        entries = [entry(name=f"m{i}", rate=1 + i / 7) for i in range(count)]
        return cpu_seconds(lambda: plan_stack(plan_request(entries)), repeats=1)

    took(5)
    assert took(50) < 3 * 10 * took(5)


def test_the_smallest_budget_is_that_of_the_leanest_plan() -> None:
    plan = plan_stack(plan_request([entry()]))
    bounds = plan.burn_usd_per_hour
    assert 0 < bounds.floor <= bounds.expected <= bounds.ceiling <= 1e6 / HOURS_PER_MONTH


@pytest.mark.parametrize(
    ("gpu", "words"),
    [("A10", "no option is left: A10: not sold in us-east-1"), ("B200", "no option is left: .*sold in 1 zone of")],
)
def test_a_card_that_cannot_be_bought_is_not_called_too_small(gpu: str, words: str) -> None:
    with pytest.raises(NoPlan, match=words) as refused:
        plan_model(entry(), Market(capacity=Capacity(gpus=(gpu,)), region="us-east-1", catalogue=CATALOGUE))
    assert ("lower capacity.zones" in refused.value.way_out) == (gpu == "B200")
    assert "L40S" in refused.value.way_out


def test_the_best_that_is_reachable_is_on_machines_that_can_be_bought() -> None:
    with pytest.raises(NoPlan, match="best reachable is TTFT") as refused:
        plan_model(
            entry(objectives=Objectives(ttft_p95_ms=0.1)),
            Market(capacity=Capacity(), region="us-east-1", catalogue=CATALOGUE),
        )
    assert not {"B200", "B300"} & set(refused.value.problem.split())
    assert "lower capacity.zones" in refused.value.way_out


def test_a_model_that_gives_vectors_is_planned_for_one_token_and_for_no_more() -> None:
    def vectors(output_tokens: int) -> ModelEntry:
        workload = Workload(requests_per_second=5, input_tokens=500, output_tokens=output_tokens)
        return ModelEntry(name="vectors", model="BAAI/bge-m3", workload=workload)

    assert plan_model(vectors(1), Market(capacity=Capacity(), region="us-east-1", catalogue=CATALOGUE)).chosen.meets
    with pytest.raises(BadInput, match="outputTokens: 20 output tokens, but BAAI/bge-m3 answers with a vector"):
        plan_model(vectors(20), Market(capacity=Capacity(), region="us-east-1", catalogue=CATALOGUE))


def test_the_limit_of_one_model_holds_for_its_whole_bill_to_the_cent() -> None:
    def plan(usd: float) -> PlanResult:
        return plan_model(
            entry(rate=10), Market(capacity=Capacity(), region="us-east-1", catalogue=CATALOGUE), max_monthly_usd=usd
        )

    with pytest.raises(OverBudget) as refused:
        plan(1)
    least = float(refused.value.limit.split(" is ")[1].split()[0])
    made = plan(least)
    burn = plan_costs(made.chosen, made.pools, entry(rate=10), "us-east-1", CATALOGUE)["burn"]
    assert burn["ceiling"]["usd_per_month"] == least
    assert any("above the limit: its ceiling needs" in one.reason for one in made.rejected)
    with pytest.raises(OverBudget):
        plan(least - 0.01)
