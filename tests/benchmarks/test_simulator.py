"""The simulator of continuous batching agrees with what can be counted by hand, and judges the closed formulas."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.simulator import Limits, Request, Step, simulate
from sizing.performance.roofline import Roofline, closed_loop
from tests.support.rooflines import LOAD as ROUND_LOAD
from tests.support.rooflines import SPEED as ROUND_SPEED

LIMITS = Limits(max_num_seqs=4, max_num_batched_tokens=100, kv_tokens=10_000)
LOAD = replace(ROUND_LOAD, chunk_tokens=8192)
SPEED = replace(ROUND_SPEED, bandwidth_bytes_per_s=1500e9, compute_flops_per_s=150e12, host_sequence_s=1e-5)


def one_second(step: Step) -> float:
    return 1.0


def by_roofline(step: Step) -> float:
    mean = step.context_tokens / step.decodes if step.decodes else 0.0
    return Roofline(LOAD, SPEED).step_s(step.decodes, mean, prompt_tokens=step.prompt_tokens, pairs=step.prompt_pairs)


def test_a_prompt_takes_as_many_steps_as_it_has_chunks_and_then_one_a_token():
    (only,) = simulate([Request(0.0, 250, 10)], LIMITS, one_second)
    assert (only.first_token_s, only.end_s) == (3.0, 12.0)


def test_a_cached_prefix_needs_no_chunk():
    (only,) = simulate([Request(0.0, 250, 10, cached_tokens=200)], LIMITS, one_second)
    assert only.first_token_s == 1.0


def test_a_fifth_request_waits_for_a_sequence_and_an_idle_engine_for_an_arrival():
    five = simulate([Request(0.0, 10, 5)] * 5, LIMITS, one_second)
    assert [outcome.first_token_s for outcome in five] == [1.0, 1.0, 1.0, 1.0, 6.0]
    (late,) = simulate([Request(7.0, 10, 5)], LIMITS, one_second)
    assert late.end_s == 12.0


def test_requests_wait_for_room_in_the_cache_but_never_for_ever():
    small = Limits(max_num_seqs=4, max_num_batched_tokens=100, kv_tokens=30)
    pair = simulate([Request(0.0, 20, 10)] * 2, small, one_second)
    assert [outcome.first_token_s for outcome in pair] == [1.0, 11.0]
    assert simulate([Request(0.0, 200, 2)], small, one_second)[0].end_s == 3.0


@pytest.mark.parametrize("concurrency", [1, 8, 32, 128])
@pytest.mark.parametrize(("inputs", "outputs"), [(128, 512), (1024, 256), (4096, 128)])
def test_the_closed_formula_gives_the_throughput_that_the_simulation_shows(concurrency, inputs, outputs):
    requests = [Request(0.0, inputs, outputs)] * (concurrency * 12)
    limits = Limits(max_num_seqs=256, max_num_batched_tokens=8192, kv_tokens=10**9)
    outcomes = simulate(requests, limits, by_roofline, concurrency=concurrency)
    shown = len(requests) * outputs / max(outcome.end_s for outcome in outcomes)
    loop = closed_loop(
        Roofline(LOAD, SPEED), concurrency=concurrency, slots=256, input_tokens=inputs, output_tokens=outputs
    )
    assert loop.output_tokens_per_s == pytest.approx(shown, rel=0.15)
