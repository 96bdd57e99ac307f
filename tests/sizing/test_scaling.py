"""The autoscaler's thresholds and windows, the rise that spare capacity covers, and the budget of a start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.facts import serving_facts
from sizing.inputs import Capacity, ModelEntry, Objectives, Workload
from sizing.plan import Scaling, StartUp
from sizing.planner import plan_model
from sizing.serving import probes, rise_within_lag, scale_up_lag_s, scaling, ttft_threshold_s

FACTS = serving_facts("scaling")
PLAN = plan_model(
    ModelEntry(
        name="chat", model="Qwen/Qwen3-8B",
        workload=Workload(requests_per_second=10, input_tokens=900, output_tokens=250),
    ),
    Capacity(gpus=("L4",)), "us-east-1", load_catalogue(), top=0,
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
    return scaling(PLAN.engine, one, start, each=most, spare=spare)


@given(rate=rates, start=starts)
def test_a_peak_of_one_adds_nothing(rate: float, start: StartUp) -> None:
    assert rise_within_lag(entry(rate, 1.0).workload, start) == 0.0


@given(rate=rates, peak=peaks, start=starts)
def test_traffic_never_rises_above_the_peak_and_a_slower_start_lets_it_rise_further(
    rate: float, peak: float, start: StartUp
) -> None:
    one = entry(rate, peak).workload
    slower = StartUp(**{**start.__dict__, "node_s": start.node_s + 60})
    assert 0 <= rise_within_lag(one, start) <= rise_within_lag(one, slower) <= peak - 1


def test_the_lag_is_half_the_window_the_polling_the_scale_up_window_and_the_start() -> None:
    start = StartUp(node_s=60, image_pull_s=66, weights_load_s=10, compile_s=50, warm_up_s=40)
    assert scale_up_lag_s(entry().workload, start) == 60 + 15 + 60 + 226
    assert rise_within_lag(entry(peak=2.0).workload, start) == pytest.approx(361 / 3600)


@given(rate=rates, peak=peaks, start=starts, most=st.floats(0.01, 100), running=st.integers(1, 100))
def test_a_replica_is_asked_for_when_traffic_and_its_rise_reach_what_the_others_carry(
    rate: float, peak: float, start: StartUp, most: float, running: int
) -> None:
    one = entry(rate, peak)
    for spare in (0, 3):
        found = thresholds(one, start, most, spare)
        acts_at = found.requests_per_s * (1 + FACTS["tolerance"]) * (running + spare) - found.spare_requests_per_s
        assert acts_at * (1 + rise_within_lag(one.workload, start)) == pytest.approx(running * most)


@given(rate=rates, start=starts)
def test_windows_hold_a_cold_start_and_enough_arrivals(rate: float, start: StartUp) -> None:
    found = thresholds(entry(rate), start)
    assert found.scale_down_window_s >= max(start.total_s, min(1000 / rate, 3600), 300)
    assert found.cooldown_s >= max(found.scale_down_window_s, 1.5 * start.total_s)
    assert 120 <= found.rate_window_s <= 600
    assert found.rate_window_s * rate >= 400 or found.rate_window_s == 600


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
