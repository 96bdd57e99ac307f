"""What a plan's page draws: options against latency, the day, other workloads; all from the planner's own answers."""

from __future__ import annotations

import dataclasses

import pytest

from sizing.catalogue import load_catalogue
from sizing.cost.bill import per_month
from sizing.inputs import Capacity, ModelEntry, ReplicaBounds
from sizing.planning.planner import PlanResult, plan_model
from sizing.planning.search.options import Market
from sizing.planning.sensitivity import (
    QUIETEST_HOUR,
    PlanStudy,
    day_of,
    frontier,
    plan_name,
    shares_of_day,
    study_plan,
    trade,
)
from sizing.workload.workload import Objectives, Workload

REGION = "us-east-1"
ENTRY = ModelEntry(
    name="chat",
    model="meta-llama/Llama-3.1-8B-Instruct",
    workload=Workload(requests_per_second=30, input_tokens=900, output_tokens=250),
)
CAPACITY = Capacity(gpus=("L40S", "H100"))


def plan(entry: ModelEntry = ENTRY, limit: float | None = None) -> PlanResult:
    return plan_model(
        entry, Market(capacity=CAPACITY, region=REGION, catalogue=load_catalogue()), max_monthly_usd=limit
    )


def study(entry: ModelEntry = ENTRY, limit: float | None = None, told: list[str] | None = None) -> PlanStudy:
    lines: list[str] = [] if told is None else told
    return study_plan(
        plan(entry, limit),
        entry,
        Market(capacity=CAPACITY, region=REGION, catalogue=load_catalogue()),
        max_monthly_usd=limit,
        progress=lines.append,
    )


@pytest.fixture(scope="module")
def studied() -> PlanStudy:
    return study()


def test_the_choice_is_among_the_options_once_and_is_the_cheapest_that_meets(studied: PlanStudy) -> None:
    chosen = [point for point in studied.options if point.chosen]
    assert [point.name for point in chosen] == [plan_name(studied.result.chosen)]
    cheapest = min(point.usd_per_month.expected for point in studied.options if point.meets)
    assert chosen[0].usd_per_month.expected == pytest.approx(cheapest)


def test_options_that_miss_are_kept_and_say_so(studied: PlanStudy) -> None:
    missing = [point for point in studied.options if not point.meets]
    assert missing
    for point in missing:
        assert point.ttft_p95_ms > 2000 or point.tpot_p95_ms > 80
    assert all(point.ttft_p95_ms <= 2000 and point.tpot_p95_ms <= 80 for point in studied.options if point.meets)


def test_every_alternative_of_the_plan_is_drawn(studied: PlanStudy) -> None:
    drawn = {(point.name, point.usd_per_month) for point in studied.options}
    for one in studied.result.alternatives:
        assert (plan_name(one), per_month(one.usd_per_hour)) in drawn


def test_nothing_is_cheaper_and_faster_than_the_frontier(studied: PlanStudy) -> None:
    best = frontier(studied.options, lambda p: p.tpot_p95_ms)
    for point in studied.options:
        assert any(
            one.usd_per_month.expected <= point.usd_per_month.expected and one.tpot_p95_ms <= point.tpot_p95_ms
            for one in best
        )
    costs = [point.usd_per_month.expected for point in best]
    assert costs == sorted(costs)


def test_traffic_is_least_at_four_and_most_twelve_hours_later() -> None:
    shares = shares_of_day(ENTRY.workload)
    assert min(shares) == shares[QUIETEST_HOUR] == pytest.approx(0.2)
    assert max(shares) == shares[QUIETEST_HOUR + 12] == pytest.approx(1.0)
    assert set(shares_of_day(ENTRY.workload.restated({"minimum_share": 1.0}))) == {1.0}


def test_the_day_stays_within_the_plan_and_reaches_it_at_its_busiest_hour(studied: PlanStudy) -> None:
    day, chosen = studied.day, studied.result.chosen
    assert len(day.hours) == 24
    assert day.replicas == chosen.replicas
    busiest = day.hours[QUIETEST_HOUR + 12]
    assert (busiest.replicas, busiest.usd_per_hour) == (
        chosen.replicas.expected, pytest.approx(chosen.usd_per_hour.expected),
    )  # fmt: skip
    for hour in day.hours:
        assert chosen.replicas.floor <= hour.replicas <= hour.burst_replicas <= chosen.replicas.ceiling
        assert chosen.usd_per_hour.floor - 1e-9 <= hour.usd_per_hour <= chosen.usd_per_hour.ceiling + 1e-9
    assert day.mean_usd_per_month <= per_month(chosen.usd_per_hour).expected


def test_a_day_with_hours_of_no_traffic_runs_the_floor() -> None:
    workload = ENTRY.workload.model_copy(update={"minimum_share": 0.0})
    entry = ENTRY.model_copy(update={"workload": workload, "scale_to_zero": True})
    chosen = plan(entry).chosen
    day = day_of(chosen, entry, Market(capacity=CAPACITY, region=REGION, catalogue=load_catalogue()))
    assert chosen.replicas.floor == 0
    assert (day.hours[QUIETEST_HOUR].replicas, day.hours[QUIETEST_HOUR].usd_per_hour) == (0, 0.0)


def test_stated_replicas_hold_all_day() -> None:
    entry = ENTRY.model_copy(update={"replicas": ReplicaBounds(floor=12, ceiling=12)})
    chosen = plan(entry).chosen
    day = day_of(chosen, entry, Market(capacity=CAPACITY, region=REGION, catalogue=load_catalogue()))
    assert {hour.replicas for hour in day.hours} == {chosen.replicas.floor}


def test_more_traffic_is_never_cheaper_and_the_plan_itself_is_one_step(studied: PlanStudy) -> None:
    for steps in (studied.traffic, studied.output_tokens):
        same = next(step for step in steps if step.factor == 1.0)
        assert same.name == plan_name(studied.result.chosen)
        assert same.usd_per_month == per_month(studied.result.chosen.usd_per_hour)
    costs = [step.usd_per_month.expected for step in studied.traffic if step.usd_per_month]
    assert costs == sorted(costs)
    assert [step.value for step in studied.output_tokens] == [125, 188, 250, 375, 500, 750, 1000]


def test_steps_beyond_the_limit_are_planned_and_marked() -> None:
    least = plan().chosen.usd_per_hour.ceiling * 730
    told: list[str] = []
    limited = study(limit=least * 1.1, told=told)
    marks = [step.over_limit for step in limited.traffic]
    assert marks[0] is False
    assert marks[-1] is True
    assert limited.day.limit_usd_per_hour is not None
    assert 0 < limited.day.limit_usd_per_hour < least * 1.1 / 730
    assert len(told) == 3


def test_what_cannot_be_planned_says_why() -> None:
    workload = ENTRY.workload.model_copy(update={"output_tokens": 100_000, "requests_per_second": 0.1})
    entry = ENTRY.model_copy(
        update={"workload": workload, "objectives": Objectives(ttft_p95_ms=60_000, tpot_p95_ms=1000)}
    )
    last = study(entry).output_tokens[-1]
    assert "longer than a request may be" in last.refusal
    assert (last.usd_per_month, last.name) == (None, "")


def test_a_trade_names_what_differs_and_nothing_else() -> None:
    chosen = plan().chosen
    assert trade(chosen, chosen) == ()
    hour = chosen.usd_per_hour
    dearer = dataclasses.replace(
        chosen, usd_per_hour=dataclasses.replace(hour, expected=hour.expected * 1.25, ceiling=hour.ceiling * 3)
    )
    assert trade(chosen, dearer) == ("expected cost +25 %", "ceiling x3.0")


def test_the_figures_that_the_study_reads_are_explained_by_every_plan() -> None:
    chosen = plan().chosen
    assert 0 < chosen.ttft_p95_ms <= 2000
    assert 0 < chosen.tpot_p95_ms <= 80
