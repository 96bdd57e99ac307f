"""A trace of requests as figures of a workload: rate, day, lengths, burstiness.

Two formats, distinguished by the first character: CSV with a header (``TIMESTAMP,ContextTokens,GeneratedTokens`` as in
the LLM inference traces of AzurePublicDataset, or ``arrival_s,input_tokens,output_tokens``), and JSON lines with
``timestamp`` in milliseconds, ``input_length`` and ``output_length`` as in the traces of Mooncake. Other columns and
keys are ignored. Times without a date start at hour 0. Every refusal names file and line.

    requestsPerSecond = requests of the busiest 3,600 s / 3600          of a shorter trace: all of it
    dailyShape[h]     = mean rate of hour h UTC / largest of these      from 20 hours on; an hour that the trace does
                                                                        not cover: the larger of its neighbours
    inputTokens, P95  = mean and 95th percentile                        P95 within what a lognormal may have
    burstiness        = mean / variance of the counts in windows of up to 10 s,
    variance          = mean of (difference of neighbouring counts)^2 / 2    (a rate that drifts over hours is no burst)
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sizing.errors import BadInput
from sizing.units import HOURS_PER_DAY, SECONDS_PER_HOUR
from sizing.workload.lengths import LARGEST_RATIO
from sizing.workload.workload import BURSTINESS_LIMITS

MOST_BYTES = 64 * 2**20
MOST_ROWS = 1_000_000
MOST_TOKENS = 10_000_000
MOST_SECONDS = 366 * 86_400
LEAST_SECONDS = 60
DAY_HOURS = 20
"""Hours that a trace must cover for its daily shape to be taken."""
COVERED_SECONDS = 600
"""Seconds of an hour of the day that count as covering it."""
WINDOW_S = 10.0
WINDOWS = 120
"""Counts are taken in windows of ``WINDOW_S``, shorter where the trace has no ``WINDOWS`` of them."""
COUNTED = 100
"""Fewest requests whose burstiness is estimated."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace: seconds since 1970 or since the start of the trace, and its tokens."""

    arrival_s: float
    input_tokens: int
    output_tokens: int


Reader = Callable[[Any], float]


def parse_trace(text: str, name: str) -> tuple[Arrival, ...]:
    """Return the requests of a trace in the order of their arrival; BadInput names ``name`` and the line."""
    if not text.strip():
        raise BadInput(name, "the trace is empty", way_out="one request a line, below a header in CSV")
    rows = _json_rows(text, name) if text.lstrip()[0] == "{" else _csv_rows(text, name)
    found = []
    for arrival in rows:
        found.append(arrival)
        if len(found) > MOST_ROWS:
            way_out = "cut it to its busiest days"
            raise BadInput(name, f"the trace has more than {MOST_ROWS} requests", way_out=way_out)
    if not found:
        raise BadInput(name, "the trace has a header and no request")
    found.sort(key=lambda one: one.arrival_s)
    seconds = found[-1].arrival_s - found[0].arrival_s
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise BadInput(name, f"the trace covers {seconds:.0f} s", limit="from one minute to one year")
    return tuple(found)


def _csv_rows(text: str, name: str) -> Iterator[Arrival]:
    lines = csv.reader(text.splitlines())
    header = [cell.strip() for cell in next(lines)]
    forms = [(columns, read) for columns, read in ((AZURE, _iso_s), (PLAIN, _number)) if set(columns) <= set(header)]
    if not forms:
        raise BadInput(
            f"{name} line 1", f"{','.join(header)[:80]!r} is no header of a trace",
            way_out=f"write {','.join(AZURE)} or {','.join(PLAIN)}",
        )  # fmt: skip
    columns, read_time = forms[0]
    places = [header.index(column) for column in columns]
    for row in lines:
        if row:
            where = f"{name} line {lines.line_num}"
            if len(row) <= max(places):
                raise BadInput(where, f"has {len(row)} cells, the header {len(header)}")
            yield _arrival([row[place].strip() for place in places], columns, read_time, where)


def _json_rows(text: str, name: str) -> Iterator[Arrival]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{name} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise BadInput(where, "not valid JSON") from None
        if not isinstance(row, Mapping):
            raise BadInput(where, f"is no JSON object but {type(row).__name__}")
        absent = [key for key in MOONCAKE if key not in row]
        if absent:
            raise BadInput(where, f"has no key {absent[0]}", way_out=f"each line has {', '.join(MOONCAKE)}")
        yield _arrival([row[key] for key in MOONCAKE], MOONCAKE, _milliseconds, where)


AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
PLAIN = ("arrival_s", "input_tokens", "output_tokens")
MOONCAKE = ("timestamp", "input_length", "output_length")


def _arrival(cells: Sequence[Any], columns: Sequence[str], read_time: Reader, where: str) -> Arrival:
    for cell, column, read, kind in zip(cells, columns, (read_time, _tokens, _tokens), KINDS, strict=True):
        try:
            value = read(cell)
        except (ValueError, TypeError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise BadInput(where, f"{column} {str(cell)[:40]!r} is not {kind}")
        if value < 0 and kind is not KINDS[0]:
            raise BadInput(where, f"{column} {value:g} is negative")
        if value > MOST_TOKENS and kind is not KINDS[0]:
            raise BadInput(where, f"{column} {value:g} is no length of a request", limit=f"{MOST_TOKENS} tokens")
    return Arrival(read_time(cells[0]), int(_tokens(cells[1])), int(_tokens(cells[2])))


KINDS = ("a time", "a whole number of tokens", "a whole number of tokens")


def _iso_s(cell: str) -> float:
    moment = datetime.fromisoformat(cell)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(cell: Any) -> float:
    if isinstance(cell, bool):
        raise TypeError
    return float(cell)


def _milliseconds(cell: Any) -> float:
    return _number(cell) / 1e3


def _tokens(cell: Any) -> float:
    value = _number(cell)
    return value if value == int(value) else math.nan


def with_trace(stated: Mapping[str, Any], trace: Sequence[Arrival], name: str) -> dict[str, Any]:
    """Return a workload, by the keys of the stack file, in which the trace ``name`` fills in what is not ``stated``.

    A stated mean excludes the 95th percentile of the trace, a stated minimumShare its daily shape.
    """
    found = workload_of(trace)
    for key, alone in (("minimumShare", "dailyShape"), ("inputTokens", "inputTokensP95"),
                       ("outputTokens", "outputTokensP95")):  # fmt: skip
        if key in stated:
            found.pop(alone, None)
    for key in stated:
        found.pop(key, None)
    hours = round((trace[-1].arrival_s - trace[0].arrival_s) / SECONDS_PER_HOUR, 2)
    source = {"file": name, "requests": len(trace), "hours": hours, "keys": sorted(found)}
    return {**found, **stated, "trace": source}


def workload_of(trace: Sequence[Arrival]) -> dict[str, Any]:
    """Return the figures of a workload that a trace of ``parse_trace`` gives, by the keys of the stack file."""
    seconds = trace[-1].arrival_s - trace[0].arrival_s
    found: dict[str, Any] = {"requestsPerSecond": round(busiest_rate([one.arrival_s for one in trace]), 6)}
    if seconds >= DAY_HOURS * SECONDS_PER_HOUR:
        found["dailyShape"] = daily_shape([one.arrival_s for one in trace])
    for key, lengths in (
        ("inputTokens", [one.input_tokens for one in trace]),
        ("outputTokens", [one.output_tokens for one in trace]),
    ):
        mean = max(round(math.fsum(lengths) / len(lengths)), 1)
        found[key], found[f"{key}P95"] = mean, tail_of(lengths, mean)
    if len(trace) >= COUNTED:
        found["burstiness"] = burstiness_of([one.arrival_s for one in trace])
    return found


def busiest_rate(arrivals: Sequence[float]) -> float:
    """Return requests per second of the busiest hour; of a shorter trace those between its first and last request."""
    seconds = arrivals[-1] - arrivals[0]
    if seconds < SECONDS_PER_HOUR:
        return (len(arrivals) - 1) / seconds
    most, first = 0, 0
    for last, arrival in enumerate(arrivals):
        while arrival - arrivals[first] >= SECONDS_PER_HOUR:
            first += 1
        most = max(most, last - first + 1)
    return most / SECONDS_PER_HOUR


def daily_shape(arrivals: Sequence[float]) -> tuple[float, ...]:
    """Return the mean rate of each hour of the day over the largest, three digits."""
    counts, covered = [0] * HOURS_PER_DAY, [0.0] * HOURS_PER_DAY
    for arrival in arrivals:
        counts[int(arrival // SECONDS_PER_HOUR) % HOURS_PER_DAY] += 1
    start, end = arrivals[0], arrivals[-1]
    for hour in range(int(start // SECONDS_PER_HOUR), int(end // SECONDS_PER_HOUR) + 1):
        within = min(end, (hour + 1) * SECONDS_PER_HOUR) - max(start, hour * SECONDS_PER_HOUR)
        covered[hour % HOURS_PER_DAY] += within
    rates = [n / s if s >= COVERED_SECONDS else None for n, s in zip(counts, covered, strict=True)]
    whole = [rate if rate is not None else _neighbour(rates, hour) for hour, rate in enumerate(rates)]
    return tuple(round(rate / max(whole), 3) for rate in whole)


def _neighbour(rates: Sequence[float | None], hour: int) -> float:
    """Return the larger of the nearest known rates before and after ``hour``, around the clock."""
    sides = ([rates[(hour + step * way) % HOURS_PER_DAY] for step in range(1, HOURS_PER_DAY)] for way in (-1, 1))
    return max(next(rate for rate in side if rate is not None) for side in sides)


def tail_of(lengths: Sequence[int], mean: int) -> int:
    """Return the 95th percentile, within 1 and ``LARGEST_RATIO`` times the mean.

    A percentile below the mean becomes the largest allowed: a few huge requests make the mean.
    """
    p95 = sorted(lengths)[math.ceil(0.95 * len(lengths)) - 1]
    most = math.floor(mean * LARGEST_RATIO)
    return most if p95 < mean and max(lengths) > 2 * mean else min(max(p95, mean), most)


def burstiness_of(arrivals: Sequence[float]) -> float:
    """Return the gamma shape with the index of dispersion of these arrivals, within the limits of the key."""
    start, seconds = arrivals[0], arrivals[-1] - arrivals[0]
    window = min(WINDOW_S, seconds / WINDOWS)
    counts = [0] * int(seconds / window)
    for arrival in arrivals:
        place = int((arrival - start) / window)
        if place < len(counts):
            counts[place] += 1
    squares = sum((after - before) ** 2 for before, after in itertools.pairwise(counts))
    variance, mean = squares / 2 / (len(counts) - 1), sum(counts) / len(counts)
    least, most = BURSTINESS_LIMITS
    return round(min(max(mean / variance, least), most), 2) if variance > 0 else most
