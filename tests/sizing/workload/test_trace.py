"""A trace of requests becomes the figures of a workload; what is none is refused with its line."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta

import pytest

from sizing.errors import BadInput
from sizing.workload.trace import (
    Arrival,
    burstiness_of,
    busiest_rate,
    daily_shape,
    parse_trace,
    tail_of,
    with_trace,
    workload_of,
)
from sizing.workload.workload import Workload

HEADER = "arrival_s,input_tokens,output_tokens\n"


def trace(*arrivals: float, tokens: tuple[int, int] = (100, 10)) -> tuple[Arrival, ...]:
    return tuple(Arrival(at, *tokens) for at in arrivals)


def gaps(shape: float, rate: float, seconds: float, seed: int = 1) -> list[float]:
    chance, clock, found = random.Random(seed), 0.0, []
    while clock < seconds:
        clock += chance.gammavariate(shape, 1 / (shape * rate))
        found.append(clock)
    return found


def test_the_three_forms_tell_the_same_requests() -> None:
    start = datetime(2023, 11, 16, 18, 15, tzinfo=UTC)
    rows = [(start + timedelta(seconds=at), 300 + at, 20) for at in (0, 30, 90)]
    azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(
        f"{at.strftime('%Y-%m-%d %H:%M:%S')}.6805900,{a},{b}\n" for at, a, b in rows
    )
    plain = HEADER + "".join(f"{at.timestamp() + 0.68059},{a},{b}\n" for at, a, b in rows)
    mooncake = "".join(
        json.dumps({"timestamp": at.timestamp() * 1e3 + 680.59, "input_length": a, "output_length": b, "hash_ids": [1]})
        + "\n"
        for at, a, b in rows
    )
    read = [parse_trace(text, "trace") for text in (azure, plain, mooncake)]
    for other in read[1:]:
        assert [one.arrival_s for one in other] == pytest.approx([one.arrival_s for one in read[0]], abs=1e-3)
        assert [(one.input_tokens, one.output_tokens) for one in other] == [(300, 20), (330, 20), (390, 20)]


def test_an_unsorted_trace_is_sorted() -> None:
    assert [one.arrival_s for one in parse_trace(HEADER + "90,1,1\n0,1,1\n45,1,1\n", "t")] == [0, 45, 90]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "t: the trace is empty; hint"),
        (HEADER, "t: the trace has a header and no request"),
        ("when,what\n1,2\n", "t line 1: 'when,what' is no header of a trace; hint: write TIMESTAMP"),
        (HEADER + "0,1,1\n5,1\n", "t line 3: has 2 cells, the header 3"),
        (HEADER + "0,many,1\n", "t line 2: input_tokens 'many' is not a whole number of tokens"),
        (HEADER + "0,1.5,1\n", "t line 2: input_tokens '1.5' is not a whole number of tokens"),
        (HEADER + "nan,1,1\n", "t line 2: arrival_s 'nan' is not a time"),
        (HEADER + "0,1,1\n70,-4,1\n", "t line 3: input_tokens -4 is negative"),
        (HEADER + "0,1,99999999\n", "t line 2: output_tokens 1e+08 is no length of a request; limit: 10000000 tokens"),
        (HEADER + "0,1,1\n59,1,1\n", "t: the trace covers 59 s; limit: from one minute to one year"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n12:00,1,1\n", "t line 2: TIMESTAMP '12:00' is not a time"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1}\n{"timestamp": 1\n', "t line 2: not valid JSON"),
        ('{"timestamp": 0, "input_length": 1}\n', "t line 1: has no key output_length"),
        ('{"timestamp": true, "input_length": 1, "output_length": 1}\n', "t line 1: timestamp 'True' is not a time"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(text: str, line: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_trace(text, "t")
    assert refused.value.line().startswith(line)
    assert "\n" not in refused.value.line()


def test_the_rate_is_that_of_the_busiest_hour_wherever_it_starts() -> None:
    quiet, busy = [at * 60.0 for at in range(300)], [9_000 + at * 2.0 for at in range(1800)]
    assert busiest_rate(sorted(quiet + busy)) == pytest.approx((1800 + 60) / 3600)
    assert busiest_rate([0.0, 30.0, 60.0, 90.0, 120.0]) == pytest.approx(4 / 120)


def test_a_day_has_its_shape_and_an_hour_that_is_not_covered_is_as_busy_as_its_busier_neighbour() -> None:
    arrivals = [hour * 3600.0 + n * 36 for hour in range(21) for n in range(100 if hour >= 10 else 50)]
    shape = daily_shape([*arrivals, 21 * 3600.0 - 1])
    assert shape[:10] == pytest.approx([0.5] * 10, abs=0.01)
    assert shape[10:21] == pytest.approx([1.0] * 11, abs=0.011)
    assert shape[21:] == (1.0, 1.0, 1.0)
    assert max(shape) == 1
    assert "dailyShape" not in workload_of(trace(0, 19 * 3600.0))
    assert len(workload_of(trace(0, 20 * 3600.0))["dailyShape"]) == 24


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_burstiness_is_found_again_also_where_the_rate_drifts(shape: float) -> None:
    arrivals = gaps(shape, 2.0, 20_000)
    assert burstiness_of(arrivals) == pytest.approx(shape, rel=0.2)
    faster = [at if at < 10_000 else 10_000 + (at - 10_000) / 2 for at in arrivals]
    assert burstiness_of(faster) == pytest.approx(shape, rel=0.25)


def test_lengths_are_mean_and_tail_within_what_a_lognormal_may_have() -> None:
    assert tail_of([100] * 20, 100) == 100
    assert tail_of([10] * 90 + [1000] * 10, 109) == 421  # 3.87 times the mean
    assert tail_of([1] * 99 + [100_000], 1001) == 3872  # nearly all tokens in one request
    assert tail_of([90] * 99 + [100], 91) == 91


def test_stated_keys_win_and_take_what_depends_on_them_along() -> None:
    rows = trace(*gaps(1.0, 0.01, 24 * 3600.0))
    told = with_trace({"peakFactor": 2.0, "inputTokens": 700, "minimumShare": 0.1}, rows, "traffic.csv")
    assert (told["inputTokens"], told["outputTokens"], told["peakFactor"]) == (700, 10, 2.0)
    assert told["trace"]["keys"] == ["burstiness", "outputTokens", "outputTokensP95", "requestsPerSecond"]
    load = Workload.model_validate(told)
    assert (load.input_tokens_p95, load.daily_shape, load.minimum_share) == (None, None, 0.1)
    assert load.trace is not None
    assert load.trace.sentence.startswith(f"traffic.csv: {len(rows)} requests in ")
    other = load.restated({"output_tokens": 20, "requests_per_second": 1.0})
    assert other.trace is not None
    assert other.trace.keys == ("burstiness", "outputTokensP95")


def test_the_same_trace_in_another_order_tells_the_same() -> None:
    lines = [f"{at},{100 + n},{n}" for n, at in enumerate(gaps(0.5, 1.0, 600))]
    first = workload_of(parse_trace(HEADER + "\n".join(lines), "t"))
    assert workload_of(parse_trace(HEADER + "\n".join(reversed(lines)), "t")) == first
