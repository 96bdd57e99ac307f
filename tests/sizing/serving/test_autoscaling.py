"""The autoscaler's thresholds and windows, the rise that spare capacity covers, and the budget of a start."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.catalogue.files import serving_facts
from sizing.inputs import Capacity, ModelEntry
from sizing.plan import StartUp
from sizing.plan.operation import Scaling
from sizing.planning.planner import plan_model
from sizing.planning.search.options import Market
from sizing.serving.autoscaling import late_share, rise_within_lag, scale_up_lag_s, scaling, ttft_threshold_s
from sizing.serving.lifecycle import probes
from sizing.workload.workload import Objectives, Workload

FACTS = serving_facts("scaling")
PLAN = plan_model(
    ModelEntry(
        name="chat", model="Qwen/Qwen3-8B",
        workload=Workload(requests_per_second=10, input_tokens=900, output_tokens=250),
    ),
    Market(capacity=Capacity(gpus=("L4",)), region="us-east-1", catalogue=load_catalogue()), top=0,
).chosen  # fmt: skip
seconds = st.floats(0, 900)
starts = st.builds(
    StartUp, node_s=seconds, image_pull_s=seconds, weights_load_s=seconds, compile_s=seconds, warm_up_s=seconds
)
rates, peaks = st.floats(0.01, 1000), st.floats(1, 10)


def entry(rate: float = 10.0, peak: float = 1.5) -> ModelEntry:
    workload = Workload(requests_per_second=rate, input_tokens=900, output_tokens=250, peak_factor=peak)
    return ModelEntry(name="chat", model="Qwen/Qwen3-8B", workload=workload)


def thresholds(one: ModelEntry, start: StartUp, most: float = 4.0, spare: int = 0) -> Scaling:
    return scaling(PLAN.engine, one, start, each=most, least=1 + spare, spare=spare)


@given(rate=rates, start=starts)
def test_a_peak_of_one_adds_nothing(rate: float, start: StartUp) -> None:
    assert rise_within_lag(entry(rate, 1.0).workload, start, 120) == 0.0


@given(rate=rates, peak=peaks, start=starts)
def test_traffic_never_rises_above_the_peak_and_a_slower_start_lets_it_rise_further(
    rate: float, peak: float, start: StartUp
) -> None:
    one = entry(rate, peak).workload
    slower = StartUp(**{**start.__dict__, "node_s": start.node_s + 60})
    assert 0 <= rise_within_lag(one, start, 120) <= rise_within_lag(one, slower, 120) <= peak - 1


def test_the_lag_is_half_the_window_the_polling_the_scale_up_window_and_the_start() -> None:
    start = StartUp(node_s=60, image_pull_s=66, weights_load_s=10, compile_s=50, warm_up_s=40)
    assert scale_up_lag_s(120, start) == 60 + 15 + 60 + 226
    assert rise_within_lag(entry(peak=2.0).workload, start, 120) == pytest.approx(361 / 3600)


@given(rate=rates, peak=peaks, start=starts, most=st.floats(0.01, 100), running=st.integers(1, 100))
def test_a_replica_is_asked_for_when_traffic_and_its_rise_reach_what_the_others_carry(
    rate: float, peak: float, start: StartUp, most: float, running: int
) -> None:
    one = entry(rate, peak)
    for spare in (0, 3):
        found = thresholds(one, start, most, spare)
        acts_at = found.requests_per_s * (1 + found.scale_up_tolerance) * (running + spare) - found.spare_requests_per_s
        assert acts_at * (1 + rise_within_lag(one.workload, start, found.rate_window_s)) == pytest.approx(
            running * most
        )
        assert found.kv_cache_usage * (1 + found.scale_up_tolerance) == pytest.approx(0.85 * 1.1)


@given(most=rates, start=starts)
def test_windows_hold_a_cold_start_and_the_arrivals_at_which_the_second_replica_is_asked_for(
    most: float, start: StartUp
) -> None:
    found = thresholds(entry(), start, most)
    assert found.scale_down_window_s >= max(start.total_s, min(1000 / most, 3600), 300)
    assert found.cooldown_s >= max(found.scale_down_window_s, 1.5 * start.total_s)
    assert 120 <= found.rate_window_s <= 600
    assert found.rate_window_s * most >= 400 or found.rate_window_s == 600


@given(most=rates, start=starts, burstiness=st.floats(0.05, 20))
def test_a_tenth_of_the_tolerance_is_growth_and_the_rest_chance_in_what_a_window_counts(
    most: float, start: StartUp, burstiness: float
) -> None:
    workload = entry().workload.model_copy(update={"burstiness": burstiness})
    found = thresholds(entry().model_copy(update={"workload": workload}), start, most)
    chance = (most * found.rate_window_s * min(burstiness, 1)) ** -0.5
    assert found.scale_up_tolerance == pytest.approx(min(0.1 + 2 * chance, 1), abs=0.01)
    assert found.scale_up_tolerance >= min(0.1 + 2 * chance, 1)


def test_of_fewer_calls_more_must_be_late_before_it_is_no_chance() -> None:
    assert [round(late_share(told), 3) for told in (1e9, 400, 100, 1)] == [0.05, 0.083, 0.115, 0.5]
    lone = {calls: sum(math.comb(calls, k) * 0.05**k * 0.95 ** (calls - k) for k in range(calls + 1)
            if k > late_share(calls) * calls) for calls in (50, 100, 400)}  # fmt: skip
    assert max(lone.values()) < 0.006


def test_bursty_arrivals_take_longer_to_count() -> None:
    start = StartUp(node_s=60, image_pull_s=66, weights_load_s=10, compile_s=50, warm_up_s=40)
    calm = entry()
    bursty = calm.model_copy(update={"workload": calm.workload.model_copy(update={"burstiness": 0.25})})
    assert [thresholds(one, start, 5.0).rate_window_s for one in (calm, bursty)] == [120, 360]
    assert [thresholds(one, start, 5.0).scale_down_window_s for one in (calm, bursty)] == [300, 840]


@given(start=starts)
def test_the_startup_probe_waits_twice_the_phases_of_the_pod(start: StartUp) -> None:
    found = probes(start).startup
    budget = found.period_s * found.failure_threshold
    assert max(300, 2 * start.pod_s) <= budget <= max(300, 2 * start.pod_s + found.period_s)


@pytest.mark.parametrize(("objective_ms", "bound_s"), [(1500, 2.5), (1000, 1.0), (300, 0.5), (600_000, 640.0)])
def test_ttft_counts_from_a_bound_of_the_histogram(objective_ms: float, bound_s: float) -> None:
    assert ttft_threshold_s(Objectives(ttft_p95_ms=objective_ms)) == bound_s


def test_the_plan_prints_the_phases_of_a_start_and_their_sum() -> None:
    figure = next(one for one in PLAN.figures if one.name == "start_up_s")
    phases = [
        float(figure.inputs[f"{phase}_s"]) for phase in ("node", "image_pull", "weights_load", "compile", "warm_up")
    ]
    assert str(figure.value).startswith(f"{sum(phases):.0f} = node {phases[0]:.0f} + image {phases[1]:.0f}")
    assert figure.inputs["startup_probe_s"] == 10 * PLAN.probes.startup.failure_threshold
    assert figure.inputs["scale_down_window_s"] == PLAN.scaling.scale_down_window_s
