"""What a replica carries: the window between two scrapes, totals where it is short, and the lines of a log."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.adapters.endpoint import samples
from sizing.errors import BadInput
from sizing.observe.endpoint_metrics import Sample
from sizing.observe.running import Running, running_of_log, running_of_scrapes, window
from tests.support.metrics import metrics

DATA = Path(__file__).resolve().parents[2] / "data" / "metrics"
NOW = 1_000_000.0
STATS = (
    "(APIServer pid=1) INFO 11-21 {at} [loggers.py:259] Engine 000: Avg prompt throughput: {prompt} tokens/s, "
    "Avg generation throughput: {generation} tokens/s, Running: 3 reqs, Waiting: 2 reqs, GPU KV cache usage: 12.5%, "
    "Prefix cache hit rate: {hits}%\n"
)
ANSWER = '(APIServer pid=1) INFO:     10.0.0.7:41 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n'


def read(text: str) -> list[Sample]:
    return samples(text.encode())


def scrapes(first: str, second: str, seconds: float = 15.0) -> Running:
    return running_of_scrapes(read(first), read(second), seconds=seconds, scraped_at_s=NOW)


def test_the_window_is_what_happened_between_the_scrapes() -> None:
    running = scrapes(metrics(1000, output_tokens=100), metrics(1300, output_tokens=250))
    assert (running.requests, running.requests_per_s, running.seconds) == (300, 20.0, 15.0)
    assert running.judged_requests == 300
    assert running.output_tokens == pytest.approx((1300 * 250 - 1000 * 100) / 300)
    assert running.input_tokens == pytest.approx(900)


def test_a_short_window_leaves_lengths_to_the_totals() -> None:
    running = scrapes(metrics(1000, prefix_share=0.5), metrics(1006, prefix_share=0.5))
    assert (running.requests, running.requests_per_s) == (6, 0.4)
    assert running.judged_requests == 1006
    assert running.prefix_share == pytest.approx(0.5)
    assert "1,006 requests since the start" in running.notes[0]


def test_too_few_requests_are_not_judged() -> None:
    running = scrapes(metrics(3), metrics(20))
    assert running.requests == 17
    assert (running.input_tokens, running.prefix_share, running.ttft_p95_ms) == (None, None, None)
    assert "20 requests are too few" in running.notes[0]


def test_the_mean_since_the_start_is_a_lower_bound_of_the_busiest_hour() -> None:
    started = NOW - 100.0
    running = scrapes(metrics(1000, started_at_s=started), metrics(1001, started_at_s=started))
    assert running.requests_per_s == pytest.approx(1001 / 100)
    assert (running.rate_of, running.requests, running.seconds) == ("the mean since the start", 1001, 100.0)


def test_counters_that_fall_are_two_servers() -> None:
    with pytest.raises(BadInput, match="fell between the two scrapes") as refusal:
        scrapes(metrics(1000), metrics(900))
    assert refusal.value.where == "endpoint"


def test_gauges_are_those_of_now_and_new_series_begin_at_zero() -> None:
    before = [Sample(name="a_total", labels={"x": "1"}, value=2.0), Sample(name="gauge", labels={}, value=7.0)]
    after = [
        Sample(name="a_total", labels={"x": "1"}, value=5.0),
        Sample(name="a_total", labels={"x": "2"}, value=4.0),
        Sample(name="gauge", labels={}, value=3.0),
    ]
    assert [sample.value for sample in window(before, after)] == [3.0, 4.0, 3.0]


def test_latencies_are_those_of_the_window() -> None:
    fast = scrapes(metrics(1000), metrics(1300))
    slow = scrapes(metrics(1000, slower=10), metrics(1300, slower=10))
    assert fast.tpot_p95_ms is not None
    assert slow.tpot_p95_ms == pytest.approx(10 * fast.tpot_p95_ms)


def log(lines: int, answers: int, hits: float = 0.0) -> list[bytes]:
    """Return throughput lines a minute apart with ``answers`` requests before each."""
    stats = [STATS.format(at=f"15:0{i}:00", prompt=300.0, generation=125.0, hits=hits) for i in range(lines)]
    return ["".join(ANSWER * answers + line for line in stats).encode()]


def test_a_log_gives_rate_and_lengths() -> None:
    running = running_of_log(log(5, 30))
    assert running is not None
    assert (running.seconds, running.requests, running.requests_per_s) == (240.0, 120, 0.5)
    assert (running.input_tokens, running.output_tokens) == (pytest.approx(600), pytest.approx(250))
    assert (running.running, running.waiting, running.kv_cache_usage) == (3, 2, 0.125)


def test_a_pause_without_lines_counts_for_the_rate_and_not_for_the_tokens() -> None:
    lines = [STATS.format(at=at, prompt=300.0, generation=125.0, hits=0.0) for at in
             ("15:00:00", "15:01:00", "15:02:00", "16:02:00")]  # fmt: skip
    running = running_of_log(["".join(ANSWER * 30 + line for line in lines).encode()])
    assert running is not None
    assert running.seconds == 3720.0
    assert running.input_tokens == pytest.approx(600)


def test_a_real_log_agrees_with_the_scrapes_of_the_same_quarter_of_a_minute() -> None:
    running = running_of_log([(DATA / "v0.32.0-cpu-load.log").read_bytes()])
    assert running is not None
    assert running.requests_per_s == pytest.approx(8, rel=0.2)
    assert running.input_tokens == pytest.approx(100, rel=0.02)
    assert running.output_tokens == pytest.approx(32, rel=0.02)


def test_two_real_scrapes_hold_what_was_sent_between_them() -> None:
    before, after = (samples((DATA / f"v0.32.0-cpu-load-{part}.txt").read_bytes()) for part in ("before", "after"))
    running = running_of_scrapes(before, after, seconds=15.0, scraped_at_s=0.0)
    assert (running.requests, running.requests_per_s, running.judged_requests) == (120, 8.0, 120)
    assert (running.input_tokens, running.output_tokens) == (100.0, 32.0)
    assert running.tpot_p95_ms is not None
    assert 0 < running.tpot_p95_ms < 100


def test_cached_tokens_which_a_log_leaves_out_are_put_back() -> None:
    running = running_of_log(log(5, 30, hits=50.0))
    assert running is not None
    assert running.prefix_share == 0.5
    assert running.input_tokens == pytest.approx(1200)


def test_a_log_of_a_start_alone_carries_no_traffic() -> None:
    assert running_of_log([b"INFO 11-21 15:00:00 [x.py:1] Loading weights took 2.0 seconds\n"]) is None


def test_a_log_without_access_lines_says_that_the_rate_is_not_known() -> None:
    running = running_of_log(log(4, 0))
    assert running is not None
    assert running.requests_per_s is None
    assert "the rate is not known" in " ".join(running.notes)


def test_lines_of_older_versions_are_read() -> None:
    line = (
        "INFO 01-02 03:04:05 metrics.py:345] Avg prompt throughput: 10.0 tokens/s, Avg generation throughput: 20.0 "
        "tokens/s, Running: 1 reqs, Swapped: 0 reqs, Pending: 4 reqs, GPU KV cache usage: 7.0%."
    )
    running = running_of_log([line.encode()])
    assert running is not None
    assert (running.running, running.waiting, running.kv_cache_usage, running.seconds) == (1, 4, 0.07, 10.0)


@given(st.one_of(st.binary(max_size=200), st.text("Avg prompt throughput: 0.19 tokens/s,RuningWait%-", max_size=300)))
def test_any_log_is_read_or_refused(content: bytes | str) -> None:
    try:
        running_of_log([content if isinstance(content, bytes) else content.encode()])
    except BadInput as refusal:
        assert refusal.where == "log"  # noqa: PT017 (only refused or read)
