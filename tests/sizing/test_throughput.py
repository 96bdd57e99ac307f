"""The roofline reproduces hand arithmetic and published points; queues and intervals behave."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fit_throughput
from sizing.catalogue import load_catalogue
from sizing.engine import resolve_engine
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides, Objectives, Workload
from sizing.memory import estimate_memory
from sizing.plan import ThroughputEstimate
from sizing.queue import most_traffic, traffic_at, traffic_for, wait_p95_s
from sizing.roofline import Load, Speed, closed_loop, collective_s, prefill_s, step_s
from sizing.throughput import predict_throughput, replica_of

CATALOGUE = load_catalogue()
LOAD = Load(
    weights_bytes=16e9, kv_bytes_per_token=131072, parameters_active=8e9, layers=32, hidden_size=4096,
    attention_width=4096, gpus=1, chunk_tokens=2048,
)  # fmt: skip
SPEED = Speed(
    bandwidth_bytes_per_s=500e9, compute_flops_per_s=50e12, link_bytes_per_s=25e9, link_latency_s=10e-6,
    host_step_s=0.002, host_sequence_s=0.0,
)  # fmt: skip


def predict(
    model: str, gpu: str, tp: int = 1, *, concurrency: float = 8, max_model_len: int = 8192
) -> ThroughputEstimate:
    spec, card = CATALOGUE.model(model), CATALOGUE.gpu(gpu)
    engine = resolve_engine(spec, card, EngineOverrides(max_model_len=max_model_len), tensor_parallel=tp)
    memory = estimate_memory(spec, card, engine)
    return predict_throughput(
        spec, card, engine, memory, concurrency=concurrency, input_tokens=900, output_tokens=250
    )  # fmt: skip


def test_one_decode_step_is_weights_and_cache_over_bandwidth_plus_the_host() -> None:
    assert step_s(LOAD, SPEED, 1, 1000) == pytest.approx(16e9 / 500e9 + 131072 * 1000 / 500e9 + 0.002)


def test_a_large_batch_is_bound_by_compute() -> None:
    assert step_s(LOAD, SPEED, 1000, 0) == pytest.approx(2 * 8e9 * 1000 / 50e12 + 0.002)


def test_a_prefill_is_the_flops_of_matrices_and_attention() -> None:
    flops = 2 * 8e9 * 1000 + 2 * 32 * 4096 * 1000**2
    assert prefill_s(LOAD, SPEED, 1000) == pytest.approx(flops / 50e12)


def test_one_gpu_needs_no_collective_and_more_need_two_a_layer() -> None:
    two = Load(**{**LOAD.__dict__, "gpus": 2})
    assert collective_s(LOAD, SPEED, 64) == 0
    assert collective_s(two, SPEED, 0) == pytest.approx(2 * 32 * 10e-6)


def test_a_closed_loop_gives_each_request_one_prefill_and_its_output() -> None:
    loop = closed_loop(LOAD, SPEED, concurrency=4, slots=100, input_tokens=500, output_tokens=100)
    assert loop.cycle_s == pytest.approx(100 * loop.step_s + 4 * loop.prefill_s)
    assert loop.output_tokens_per_s == pytest.approx(400 / loop.cycle_s)


def test_requests_beyond_the_slots_wait_and_add_no_throughput() -> None:
    full = closed_loop(LOAD, SPEED, concurrency=8, slots=8, input_tokens=500, output_tokens=100)
    crowded = closed_loop(LOAD, SPEED, concurrency=16, slots=8, input_tokens=500, output_tokens=100)
    assert crowded.output_tokens_per_s == full.output_tokens_per_s
    assert crowded.ttft_s == pytest.approx(full.ttft_s + full.cycle_s)


def test_a_cached_prefix_shortens_the_first_token() -> None:
    cold = closed_loop(LOAD, SPEED, concurrency=4, slots=9, input_tokens=4000, output_tokens=100)
    warm = closed_loop(LOAD, SPEED, concurrency=4, slots=9, input_tokens=4000, output_tokens=100, prefix_share=0.8)
    assert warm.ttft_s < 0.4 * cold.ttft_s


@settings(max_examples=30, deadline=None, derandomize=True)
@given(c=st.floats(1, 200), more=st.floats(1, 3))
def test_more_requests_in_flight_never_lower_throughput_nor_quicken_a_token(c: float, more: float) -> None:
    few = closed_loop(LOAD, SPEED, concurrency=c, slots=math.inf, input_tokens=500, output_tokens=100)
    many = closed_loop(LOAD, SPEED, concurrency=c * more, slots=math.inf, input_tokens=500, output_tokens=100)
    assert many.output_tokens_per_s >= few.output_tokens_per_s * (1 - 1e-12)
    assert many.tpot_s >= few.tpot_s
    assert many.ttft_s >= few.ttft_s * (1 - 1e-12)


def test_faster_memory_decodes_faster_though_the_card_is_older() -> None:
    small = "meta-llama/Llama-3.1-8B-Instruct"
    assert predict(small, "A10G").tpot_ms.p50 < predict(small, "L4").tpot_ms.p50


def test_published_a10g_points_lie_near_the_prediction() -> None:
    """Llama-3.1-8B on g5.2xlarge, one request: 30.2 tokens/s published (varad-more, 2026)."""
    one = predict("meta-llama/Llama-3.1-8B-Instruct", "A10G", concurrency=1)
    assert one.output_tokens_per_s.p50 == pytest.approx(30.2, rel=0.12)


def test_intervals_are_ordered_and_tensor_parallelism_shortens_a_token() -> None:
    two, four = (predict("meta-llama/Llama-3.3-70B-Instruct", "H100", tp) for tp in (4, 8))
    for interval in (two.output_tokens_per_s, two.ttft_ms, two.tpot_ms):
        assert interval.p10 <= interval.p50 <= interval.p90
    assert four.tpot_ms.p50 < two.tpot_ms.p50


def test_a_request_longer_than_the_engine_takes_is_refused() -> None:
    with pytest.raises(BadInput, match="max_model_len 1024"):
        predict("meta-llama/Llama-3.1-8B-Instruct", "A10G", max_model_len=1024)


def test_an_idle_queue_does_not_wait_and_a_full_one_for_ever() -> None:
    assert wait_p95_s(0.1, 0.04) == 0
    assert wait_p95_s(0.1, 0.5) == pytest.approx(0.1 * 2 / (2 * 0.5) * math.log(10))
    assert wait_p95_s(0.1, 1.0) == math.inf


def test_the_most_traffic_of_a_replica_meets_and_a_little_more_does_not() -> None:
    spec, card = CATALOGUE.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOGUE.gpu("L40S")
    engine = resolve_engine(spec, card, EngineOverrides(max_model_len=8192))
    replica = replica_of(spec, card, engine, estimate_memory(spec, card, engine))
    workload = Workload(requests_per_second=1, input_tokens=900, output_tokens=250)
    objectives = Objectives(ttft_p95_ms=1500, tpot_p95_ms=40)
    most = most_traffic(replica, workload, objectives)
    assert most is not None
    assert most.meets(objectives)
    assert not traffic_at(replica, workload, most.concurrency * 1.01).meets(objectives)
    half = traffic_for(replica, workload, most.requests_per_s / 2, most)
    assert half.requests_per_s == pytest.approx(most.requests_per_s / 2, rel=1e-3)
    assert half.concurrency < most.concurrency / 2


def test_errors_on_sources_that_were_not_fitted_stay_within_their_bounds() -> None:
    """Held out: gpustack (bursts of requests on A100 and H100) and one L4; `python -m benchmarks.fit_throughput`."""
    constants = fit_throughput.json.loads(fit_throughput.CONSTANTS.read_text())["constants"]
    points = fit_throughput.read_points()
    fitted = [point for point in points if point.source in fit_throughput.FITTED]
    others = [point for point in points if point.source not in fit_throughput.FITTED]
    assert _median_error(fitted, "output_tok_s", constants) <= 0.08
    assert _median_error(others, "tpot_ms", constants) <= 0.06
    assert _median_error(others, "output_tok_s", constants) <= 0.35  # bursts of 100 to 1000 prompts at once


def _median_error(points: list[fit_throughput.Point], measure: str, constants: dict[str, float]) -> float:
    errors = sorted(abs(math.expm1(r)) for _, r in fit_throughput.residuals(points, constants)[measure])
    return errors[len(errors) // 2]
