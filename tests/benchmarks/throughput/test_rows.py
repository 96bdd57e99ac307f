"""Rows are taken by what their source states: lengths, cuts, sides, and runs that cannot be compared."""

from __future__ import annotations

import json
import math
import statistics
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest

from benchmarks.simulator import Limits, Request, Step, simulate
from benchmarks.throughput import rows as throughput_rows
from benchmarks.throughput.fit import first_wave_s, run_s
from benchmarks.throughput.peers import aiconfigurator
from benchmarks.throughput.peers.case import Prediction
from benchmarks.throughput.rows import Point, in_development, read_points, source_of
from benchmarks.throughput.score import OURS, case_of, pairs
from sizing.errors import BadInput
from sizing.performance.roofline import Roofline, Speed, closed_loop

SPEED = Speed(
    bandwidth_bytes_per_s=1e12, compute_flops_per_s=1e14, link_bytes_per_s=1e11, link_latency_s=1e-5,
    host_step_s=0.001, host_sequence_s=0.0,
)  # fmt: skip


def _rows() -> list[dict[str, object]]:
    text = (throughput_rows.DATA / "throughput-points.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(name="points", scope="module")
def _points() -> dict[str, Point]:
    return {point.id: point for point in read_points()[0]}


def test_every_row_is_compared_or_left_out_for_a_reason(points: dict[str, Point]) -> None:
    assert len(_rows()) == len(points) + sum(read_points()[1].values())


def test_lengths_drawn_between_a_share_and_the_nominal_have_the_mean_of_both(points: dict[str, Point]) -> None:
    drawn = [row for row in _rows() if "random-range-ratio 0.8" in str(row["notes"])]
    compared = [row for row in drawn if row["id"] in points]
    assert len(compared) > 100
    for row in compared:
        point = points[str(row["id"])]
        assert (point.input_tokens, point.output_tokens) == (
            pytest.approx(0.9 * float(str(row["input_len"]))),
            pytest.approx(0.9 * float(str(row["output_len"]))),
        )


def test_a_page_is_its_host_and_a_repository_its_name_and_both_sides_have_sources() -> None:
    assert source_of({"source_url": "https://github.com/a/b/blob/c/d"}) == "a/b"
    assert source_of({"source_url": "https://ai.example/x/y"}) == "ai.example"
    sides = {in_development(source_of(row)) for row in _rows()}
    assert sides == {True, False}
    assert in_development("gpustack/gpustack")
    assert {source_of(row) for row in _rows()} >= throughput_rows.LOOKED_AT


def _seconds(point: Point, requests: float, *, varied: bool, longest: float = math.inf) -> float:
    shaped = replace(point, varied=varied, longest_output=longest * point.output_tokens)
    roofline = Roofline(point.work, SPEED)
    loop = closed_loop(
        roofline, concurrency=8, slots=8, input_tokens=point.input_tokens, output_tokens=point.output_tokens
    )
    return run_s(roofline, loop, shaped, requests) / loop.cycle_s


def test_a_run_ends_with_the_wave_that_is_over_or_with_its_longest_answer(points: dict[str, Point]) -> None:
    point = next(iter(points.values()))
    assert _seconds(point, 16, varied=False) == pytest.approx(2)
    assert 2 < _seconds(point, 17, varied=False) < 3
    endless = _seconds(point, 16, varied=True)
    cut = _seconds(point, 16, varied=True, longest=1.2)
    assert 2 < cut < endless
    assert _seconds(point, 16, varied=True, longest=1.0) == pytest.approx(2)


def test_a_sweep_with_a_run_beyond_the_flops_of_its_cards_is_left_out_as_cached(points: dict[str, Point]) -> None:
    sweep = {f"b{number:04}" for number in range(64, 70)}  # 40,000 prompt tokens a second of a 70B on two H100
    assert not sweep & set(points)
    assert {"b0070", "b0071"} <= set(points)


def test_a_run_that_kept_its_seats_empty_is_left_out_unless_it_says_how_many_it_served(
    points: dict[str, Point],
) -> None:
    assert "b0061" not in points  # 24 of 40 in flight by its own figures, which no end of 200 requests explains
    row = {"id": "here", "output_tok_s": 1000.0, "ttft_ms": 100.0, "tpot_ms": 31.9, "notes": ""}  # 32 in flight
    throughput_rows._check_load({**row, "notes": "100 prompts"}, 40, 100)
    with pytest.raises(BadInput, match="far from the stated"):
        throughput_rows._check_load(row, 40, 100)


def test_the_first_wave_waits_for_the_chunks_before_it(points: dict[str, Point]) -> None:
    load = replace(next(iter(points.values())).work, chunk_tokens=1000)
    roofline = Roofline(load, SPEED)
    alone = first_wave_s(roofline, 1, 1000)
    assert first_wave_s(roofline, 10, 100) == pytest.approx(alone, rel=0.2)
    assert first_wave_s(roofline, 9, 1000) > 5 * alone


def test_requests_of_one_length_prefill_together_in_the_simulator_too(points: dict[str, Point]) -> None:
    load = replace(next(iter(points.values())).work, chunk_tokens=8192)
    roofline = Roofline(load, replace(SPEED, compute_flops_per_s=1e15))

    def step(now: Step) -> float:
        context = now.context_tokens / now.decodes if now.decodes else 0.0
        return roofline.step_s(now.decodes, context, prompt_tokens=now.prompt_tokens, pairs=now.prompt_pairs)

    calls = [Request(0.0, 256, 256) for _ in range(320)]
    found = simulate(calls, Limits(1024, 8192, 10**9), step, concurrency=64)
    later = statistics.fmean(outcome.first_token_s for outcome in found[64:])
    assert later == pytest.approx(first_wave_s(roofline, 32, 256, others=32), rel=0.15)


def test_a_link_is_that_of_the_row_where_the_card_is_sold_with_either(points: dict[str, Point]) -> None:
    assert {points[name].gpu.link for name in ("c0107", "c0108")} == {"nvlink"}
    assert points["c0186"].gpu.link == "pcie"


def test_a_peer_is_also_compared_without_the_points_of_its_own_authors(points: dict[str, Point]) -> None:
    some = [point for point in points.values() if "tpot_ms" in point.measured and not point.old]
    own = next(point for point in some if point.source == "ai-dynamo/aiconfigurator")
    other = next(point for point in some if point.source != "ai-dynamo/aiconfigurator")
    said = {point.id: Prediction(tpot_ms=point.measured["tpot_ms"]) for point in (own, other)}
    peers = {"peer": SimpleNamespace(OWN_SOURCES=("ai-dynamo/aiconfigurator",))}
    found = pairs([own, other], {OURS: said, "peer": said}, peers)  # type: ignore[arg-type]
    assert [(pair.away, pair.n) for pair in found if pair.column == "TPOT"] == [(False, 2), (True, 1)]


def test_a_batch_without_room_is_halved_until_it_fits_and_then_has_no_first_token(
    points: dict[str, Point], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def estimate(*, batch_size: int, **_: object) -> SimpleNamespace:
        asked.append(batch_size)
        if batch_size > 3:
            raise RuntimeError("OOM: the model does not fit")
        return SimpleNamespace(raw={"seq/s": 2.0}, tpot=10.0, ttft=50.0)

    monkeypatch.setitem(sys.modules, "aiconfigurator", ModuleType("aiconfigurator"))
    monkeypatch.setitem(sys.modules, "aiconfigurator.cli", ModuleType("aiconfigurator.cli"))
    monkeypatch.setitem(sys.modules, "aiconfigurator.cli.api", SimpleNamespace(cli_estimate=estimate))  # type: ignore[arg-type]
    point = next(point for point in points.values() if point.gpu.name == "H100")
    said = aiconfigurator.predict(replace(case_of(point), batch=16, output_tokens=100))
    assert asked == [16, 8, 4, 2]
    assert (said.output_tok_s, said.tpot_ms, said.ttft_ms) == (200.0, 10.0, None)
