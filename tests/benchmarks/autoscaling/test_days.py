"""Simulated days: the engine that jumps is the simulator's; gateway, nodes and autoscaler do what they should."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import pytest

from benchmarks.autoscaling.benchmark import of_stack, service_of
from benchmarks.autoscaling.replica_model import Call, Engine, StepTimes
from benchmarks.autoscaling.report import document, promises
from benchmarks.autoscaling.rows import Row
from benchmarks.autoscaling.service_model import Autoscaler, Change, Day, Fleet, Sample, Service, day_shape, simulate
from benchmarks.plans.problems import percentile
from benchmarks.simulator import Limits, Request
from benchmarks.simulator import simulate as step_by_step
from sizing.catalogue import load_catalogue
from sizing.inputs import Capacity, ModelEntry
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market
from sizing.planning.serving_plan import own_plan
from sizing.workload.workload import Objectives, Workload
from tests.benchmarks.test_simulator import by_roofline
from tests.support.plans import serving_plan

IDLE = Sample(arrivals_per_s=0.0, waiting=0, kv_usage=0.0, ttft_s=0.0)
NOTHING_SEEN = (lambda _: None, lambda _: None)


def jumping(requests: list[Request], limits: Limits, step_time) -> list[Call]:
    engine = Engine(limits, StepTimes(step_time), *NOTHING_SEEN)
    calls = [Call(one.arrival_s, one.input_tokens, one.output_tokens, one.cached_tokens) for one in requests]
    for call in calls:
        engine.advance(call.arrival_s)
        engine.submit(call, call.arrival_s)
    engine.advance(1e9)
    return calls


def some_requests(count: int, rate: float, seed: int = 1) -> list[Request]:
    chance, clock, found = random.Random(seed), 0.0, []
    for _ in range(count):
        clock += chance.expovariate(rate)
        prompt = chance.randint(1, 400)
        found.append(Request(clock, prompt, chance.randint(1, 60), chance.choice((0, prompt // 2))))
    return found


@pytest.mark.parametrize("limits", [Limits(4, 100, 10_000), Limits(64, 128, 2_000), Limits(2, 64, 300)])
def test_with_steps_of_one_length_each_call_ends_when_the_simulator_says(limits: Limits) -> None:
    requests = some_requests(300, 0.05)
    told = step_by_step(requests, limits, lambda _: 1.0)
    for request, want, call in zip(requests, told, jumping(requests, limits, lambda _: 1.0), strict=True):
        assert call.ttft_s == pytest.approx(want.first_token_s), request
        assert call.end_s == pytest.approx(want.end_s), request


@pytest.mark.parametrize("rate", [1.0, 10.0, 30.0])
def test_at_the_roofline_its_percentiles_are_those_of_the_simulator(rate: float) -> None:
    requests, limits = some_requests(1500, rate), Limits(256, 2048, 100_000)
    told, calls = step_by_step(requests, limits, by_roofline), jumping(requests, limits, by_roofline)
    want, seen = [one.first_token_s for one in told], [call.ttft_s for call in calls]
    assert percentile(seen, 0.95) == pytest.approx(percentile(want, 0.95), rel=0.02)
    rates = [
        (one.end_s - r.arrival_s - one.first_token_s) / max(r.output_tokens - 1, 1)
        for one, r in zip(told, requests, strict=True)
    ]
    assert percentile([call.tpot_s for call in calls], 0.95) == pytest.approx(percentile(rates, 0.95), rel=0.02)


def scaler(replicas: int, **changed: object) -> Autoscaler:
    return Autoscaler(serving_plan(scaling={"requests_per_s": 1.0, "scale_up_window_s": 60, **changed}), replicas)


def run(one: Autoscaler, sample: Sample, start_s: int, until_s: int) -> list[int]:
    return [one.decide(now, sample, one.replicas) for now in range(start_s, until_s, 15)]


def test_within_a_tenth_nothing_moves_and_above_it_the_next_whole_replica() -> None:
    assert scaler(2)._by_metric(replace(IDLE, arrivals_per_s=2.19), 2)["traffic"] == 2
    assert scaler(2)._by_metric(replace(IDLE, arrivals_per_s=2.21), 2)["traffic"] == 3
    assert scaler(3)._by_metric(replace(IDLE, arrivals_per_s=2.1), 3)["traffic"] == 3
    assert scaler(2)._by_metric(replace(IDLE, kv_usage=0.85 * 1.6), 2)["kv-cache"] == 4
    assert scaler(4)._by_metric(replace(IDLE, kv_usage=0.85 * 1.6), 2)["kv-cache"] == 4  # two are not ready yet


def test_more_is_asked_for_a_minute_later_two_at_a_time_up_to_the_ceiling() -> None:
    one, much = scaler(1), replace(IDLE, arrivals_per_s=9.0)
    run(one, IDLE, 0, 60)
    asked = run(one, much, 60, 240)
    assert asked == [1] * 3 + [3] * 4 + [4] * 5


def test_less_is_let_go_after_the_window_one_every_two_minutes_down_to_the_floor() -> None:
    one = scaler(4, scale_down_window_s=600)
    run(one, replace(IDLE, arrivals_per_s=4.0), 0, 60)
    asked = run(one, IDLE, 60, 1200)
    assert [60 + 15 * place for place in range(1, len(asked)) if asked[place] < asked[place - 1]] == [645, 765, 885]
    assert asked[-1] == 1


def test_a_model_at_zero_sleeps_after_its_cooldown_and_wakes_with_traffic() -> None:
    one = Autoscaler(serving_plan(scale_to_zero=True, replicas={"floor": 0}, scaling={"cooldown_s": 900}), 1)
    asked = run(one, IDLE, 0, 1000)
    assert (asked[900 // 15 - 1], asked[900 // 15]) == (1, 0)
    assert one.decide(1000, replace(IDLE, arrivals_per_s=0.01), 0) == 1


def test_a_flap_is_an_up_soon_after_a_down_without_a_reason() -> None:
    def flaps(*changes: tuple[float, int, float]) -> int:
        return Day(changes=[Change(at, by, offered, "traffic") for at, by, offered in changes]).flaps

    assert flaps((0, -1, 10.0), (599, 1, 10.5)) == 1
    assert flaps((0, -1, 10.0), (601, 1, 10.5)) == 0
    assert flaps((0, -1, 10.0), (300, 2, 15.0)) == 0
    assert flaps((0, 1, 10.0), (300, -1, 9.0), (600, -1, 8.0), (700, 1, 8.0), (800, 1, 8.0)) == 1


ENTRY = ModelEntry(
    name="chat", model="Qwen/Qwen3-4B", objectives=Objectives(ttft_p95_ms=1000, tpot_p95_ms=40),
    workload=Workload(requests_per_second=4, input_tokens=800, output_tokens=200, peak_factor=2, minimum_share=0.3),
)  # fmt: skip
CAPACITY = Capacity(gpus=("L4",))


@cache
def service() -> Service:
    option = enumerate_options(
        ENTRY, Market(capacity=CAPACITY, region="us-east-1", catalogue=load_catalogue()), keep=1
    ).options[0]
    return service_of("chat", ENTRY, CAPACITY, option, own_plan(ENTRY, option, CAPACITY))


def test_a_pod_takes_a_whole_start_on_a_new_node_and_less_beside_another() -> None:
    one = service()
    one = replace(one, plan=replace(one.plan, replicas_per_instance=2, replicas=replace(one.plan.replicas, floor=0)))
    fleet, start = Fleet(one, seed=0), one.plan.start_up
    fleet.start(100.0)
    fleet.start(100.0)
    fleet.start(10_000.0)
    expected = [100 + start.total_s] * 2 + [10_000 + start.total_s]
    assert [pod.ready_s for pod in fleet.pods] == pytest.approx(expected)
    fleet.stop(10_000.0)
    fleet.start(20_000.0)
    assert fleet.pods[-1].ready_s == pytest.approx(20_000 + start.pod_s)
    assert len(fleet.nodes) == 2


def held(count: int, rate: float) -> Day:
    one = service()
    plan = replace(one.plan, replicas=replace(one.plan.replicas, floor=count, expected=count, ceiling=count))
    return simulate(replace(one, plan=plan), lambda _: rate, until_s=1200, seed=3)


def test_in_a_short_hour_more_replicas_are_never_worse() -> None:
    rate = 2 * service().entry.workload.requests_per_second  # more than the one replica that is planned
    days = [held(count, rate) for count in (1, 2, 3, 6)]
    assert [day.calls for day in days[1:]] == sorted(day.calls for day in days[1:])
    shares = [day.within / day.calls for day in days]
    assert shares == sorted(shares)
    assert shares[0] < 0.5
    assert shares[-1] > 0.95
    ttft = [day.p95_ms(day.ttft_s) for day in days]
    assert ttft == sorted(ttft, reverse=True)


def test_the_day_rises_to_the_peak_and_jumps_there_at_its_busiest_hour() -> None:
    one = ENTRY
    rate, most = day_shape(one), one.workload.requests_per_second
    assert rate(4 * 3600) == pytest.approx(most * one.workload.minimum_share)
    assert rate(16 * 3600 - 1) == pytest.approx(most, rel=1e-3)
    assert rate(16 * 3600) == pytest.approx(most * one.workload.peak_factor, rel=1e-3)
    assert rate(10.5 * 3600) / rate(10 * 3600) > (one.workload.peak_factor - 1) / 2


def test_the_page_keeps_its_promises_and_names_a_miss() -> None:
    kept = Row(
        name="dev, chat", what="8B on L4 x1", replicas="1 / 2 / 3", calls=1000, within=0.99, ttft_share=0.5,
        tpot_share=0.9, worst_within=0.97, worst_hour=16, ups=2, flaps=0, cut=0, mean_replicas=1.5,
        usd=1.2, expected_usd=1.5, usd_bounds="0.50 / 1.50 / 3.00",
    )  # fmt: skip
    missed = replace(kept, name="problem 7", tpot_share=1.25, flaps=1)
    good = [dict.fromkeys(("as planned", "slow engines", "without traffic"), kept)]
    bad = [dict.fromkeys(("as planned", "slow engines", "without traffic", "loss"), missed)]
    assert all(one.kept for one in promises(good))
    assert [one.kept for one in promises(good + bad)] == [False, False, False, True]
    assert "- problem 7 (8B on L4 x1): 99.0% within, TTFT p95 0.50 and TPOT p95 1.25 of the objective, 1 flaps" in (
        document(good + bad)
    )


def test_dev_scales_over_its_day_without_a_flap() -> None:
    one = of_stack("dev", "chat")
    day = simulate(one, day_shape(one.entry), until_s=6 * 3600, seed=0)
    assert (day.flaps, day.cut) == (0, 0)
    assert day.within / day.calls > 0.95
    assert one.plan.replicas.floor <= day.mean_replicas <= one.plan.replicas.ceiling
