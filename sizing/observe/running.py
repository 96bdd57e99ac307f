"""What one running replica carries: its rate, lengths, cache and latencies, from two scrapes or from its log.

Two scrapes of ``/metrics`` give the window between them (counters and histograms are subtracted) and the totals since
the start. A short window says little about lengths and tails, so those are taken from the totals until the window
itself holds enough requests. The rate is that of the window or the mean since the start, whichever is more: the plan is
for the busiest hour, which no mean exceeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from sizing.errors import BadInput
from sizing.observe.endpoint_metrics import WHERE, Latency, Sample, ServingLoad, endpoint_metrics
from sizing.observe.logs.lines import log_lines

ENOUGH_REQUESTS = 100
"""Requests of a window from which its own lengths and 95th percentiles are used: five beyond the percentile."""
FEWEST_REQUESTS = 30
"""With fewer requests altogether, lengths, prefix share and latencies are not judged."""
SUMMED = ("_total", "_count", "_sum", "_bucket")
CREATED = "vllm:request_success_created"
LOG_INTERVAL_S = 10.0
"""Seconds between the throughput lines of vLLM (VLLM_LOG_STATS_INTERVAL), where a log holds only one."""
DAY_S = 86_400


@dataclass(frozen=True, kw_only=True)
class Running:
    """One replica at work; None where a figure is not known. Shares are of 1, lengths means of a request.

    ``requests`` in ``seconds`` are those of the rate, ``judged_requests`` those of lengths and latencies.
    """

    source: str
    rate_of: str
    seconds: float | None
    requests: int
    requests_per_s: float | None
    judged_requests: int
    input_tokens: float | None
    output_tokens: float | None
    prefix_share: float | None
    ttft_p95_ms: float | None
    tpot_p95_ms: float | None
    running: int
    waiting: int
    kv_cache_usage: float | None
    preemptions: int
    notes: tuple[str, ...] = ()


def window(before: Sequence[Sample], after: Sequence[Sample]) -> list[Sample]:
    """Return ``after`` with counters and histograms less those of ``before``; BadInput when one of them fell."""
    earlier = {_key(sample): sample.value for sample in before}
    found = []
    for sample in after:
        if not sample.name.endswith(SUMMED):
            found.append(sample)
            continue
        difference = sample.value - earlier.get(_key(sample), 0.0)
        if difference < 0:
            problem = f"{sample.name} fell between the two scrapes: another replica answered, or the server restarted"
            raise BadInput(WHERE, problem, way_out="give the address of one pod, not of a service before several")
        found.append(replace(sample, value=difference))
    return found


def _key(sample: Sample) -> tuple[str, tuple[tuple[str, str], ...]]:
    return sample.name, tuple(sorted(sample.labels.items()))


def running_of_scrapes(
    before: Sequence[Sample], after: Sequence[Sample], *, seconds: float, scraped_at_s: float
) -> Running:
    """Return what happened between two scrapes ``seconds`` apart; ``scraped_at_s`` is the time of the second (epoch).

    Raises BadInput when they are of no vLLM or of two servers.
    """
    total, recent = endpoint_metrics(after).load, endpoint_metrics(window(before, after)).load
    uptime = _uptime_s(after, scraped_at_s)
    rate, rate_of, span, count = recent.requests / seconds, f"the last {seconds:g} s", seconds, recent.requests
    if uptime is not None and total.requests / uptime > rate:
        rate, rate_of, span, count = total.requests / uptime, "the mean since the start", uptime, total.requests
    judged = recent if recent.requests >= ENOUGH_REQUESTS else total
    notes = []
    if judged is total and total.requests >= FEWEST_REQUESTS:
        notes.append(
            f"lengths and latencies are of {total.requests:,} requests since the start, its first ones included"
        )
    measured = _Rate(source="endpoint", rate_of=rate_of, seconds=span, requests=count, requests_per_s=rate)
    return _of_load(measured, judged, total, notes)


def _uptime_s(samples: Iterable[Sample], scraped_at_s: float) -> float | None:
    created = [sample.value for sample in samples if sample.name == CREATED and sample.value > 0]
    uptime = scraped_at_s - min(created) if created else 0.0
    return uptime if uptime >= 1 else None


@dataclass(frozen=True, kw_only=True)
class _Rate:
    """Requests per second, and what they were counted over."""

    source: str
    rate_of: str
    seconds: float | None
    requests: int
    requests_per_s: float | None


def _of_load(rate: _Rate, judged: ServingLoad, now: ServingLoad, notes: Sequence[str]) -> Running:
    """Return the running figures; what too few requests say is left out."""
    enough = judged.requests >= FEWEST_REQUESTS
    found = list(notes)
    if not enough:
        found.append(
            f"{judged.requests} requests are too few to judge lengths and latencies: {FEWEST_REQUESTS} are needed"
        )
    if now.preemptions:
        found.append(f"{now.preemptions:,} preemptions since the start: the cache has been full")

    def p95(latency: Latency | None) -> float | None:
        return latency.p95_ms if enough and latency is not None else None

    return Running(
        **vars(rate),
        judged_requests=judged.requests,
        input_tokens=judged.prompt_tokens / judged.requests if enough else None,
        output_tokens=judged.generation_tokens / judged.requests if enough else None,
        prefix_share=judged.prefix_hit_rate if enough else None,
        ttft_p95_ms=p95(judged.ttft),
        tpot_p95_ms=p95(judged.tpot),
        running=now.running,
        waiting=now.waiting,
        kv_cache_usage=now.kv_cache_usage,
        preemptions=now.preemptions,
        notes=tuple(found),
    )


_STATS = re.compile(
    r"Avg prompt throughput: (\d{1,12}\.?\d{0,6}) tokens/s, Avg generation throughput: (\d{1,12}\.?\d{0,6}) tokens/s, "
    r"Running: (\d{1,9}) reqs,.{0,80}?(?:Waiting|Pending): (\d{1,9}) reqs,.{0,200}?KV cache usage: (\d{1,3}\.?\d{0,6})%"
)
_HITS = re.compile(r"Prefix cache hit rate: (?:GPU: )?(\d{1,3}\.?\d{0,6})%")
_AT = re.compile(r"\b(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\b")
_ANSWERED = re.compile(r'"POST /\S{0,200} HTTP/[\d.]{1,4}" 200')
_DAYS = (0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335)
"""Days of a leap year before each month; logs of vLLM carry no year."""


@dataclass(frozen=True, kw_only=True)
class _Stats:
    at_s: float | None
    prompt_tokens_per_s: float
    generation_tokens_per_s: float
    running: int
    waiting: int
    kv_cache_usage: float
    prefix_share: float | None


def running_of_log(chunks: Iterable[bytes]) -> Running | None:
    """Return what the throughput lines of a log say; None when it has none. ``chunks`` are its bytes in any cut.

    Requests are the answered POST lines of the API server, which ``--disable-uvicorn-access-log`` leaves out. Each
    throughput line covers the time since the one before, so the first only begins the count where there are more.
    """
    stats: list[_Stats] = []
    answered = [0]
    for line in log_lines(chunks):
        if (found := _STATS.search(line)) is not None:
            stats.append(_stats(line, found))
            answered.append(0)
        elif _ANSWERED.search(line):
            answered[-1] += 1
    return _of_stats(stats, answered) if stats else None


def _of_stats(stats: Sequence[_Stats], answered: Sequence[int]) -> Running:
    """Return the figures of throughput lines; ``answered`` are the requests before each and after the last."""
    times = [one.at_s for one in stats]
    gaps = [
        (later - earlier) % (366 * DAY_S) if earlier is not None and later is not None else LOG_INTERVAL_S
        for earlier, later in pairwise(times)
    ]
    covered, counted = (stats[1:], sum(answered[1:-1])) if gaps else (stats, sum(answered))
    gaps = gaps or [LOG_INTERVAL_S]
    interval, seconds = median(gaps), sum(gaps)
    lasted = [min(gap, interval) for gap in gaps]  # a server without work prints nothing
    share = stats[-1].prefix_share or 0.0
    load = ServingLoad(
        running=stats[-1].running,
        waiting=stats[-1].waiting,
        kv_cache_usage=max(one.kv_cache_usage for one in stats),
        preemptions=0,
        prefix_hit_rate=share,
        prompt_tokens=_tokens([one.prompt_tokens_per_s / (1 - share) for one in covered], lasted),
        generation_tokens=_tokens([one.generation_tokens_per_s for one in covered], lasted),
        requests=counted,
        ttft=None,
        tpot=None,
    )
    rate = counted / seconds if counted and seconds > 0 else None
    notes = [] if counted else ["the log has no line of an answered request: the rate is not known"]
    if share:
        notes.append("the log counts prompt tokens without cached ones: the length is with them, by the hit rate")
    measured = _Rate(source="log", rate_of="the log", seconds=seconds or None, requests=counted, requests_per_s=rate)
    return _of_load(measured, load, load, notes)


def _tokens(per_second: Sequence[float], seconds: Sequence[float]) -> int:
    return round(sum(rate * span for rate, span in zip(per_second, seconds, strict=True)))


def _stats(line: str, found: re.Match[str]) -> _Stats:
    at, hits = _AT.search(line), _HITS.search(line)
    return _Stats(
        at_s=_seconds(*(int(part) for part in at.groups())) if at else None,
        prompt_tokens_per_s=float(found[1]),
        generation_tokens_per_s=float(found[2]),
        running=int(found[3]),
        waiting=int(found[4]),
        kv_cache_usage=float(found[5]) / 100,
        prefix_share=min(float(hits[1]) / 100, 0.99) if hits else None,
    )


def _seconds(month: int, day: int, hour: int, minute: int, second: int) -> float | None:
    if not 1 <= month <= 12:
        return None
    return float(((_DAYS[month - 1] + day - 1) * 24 + hour) * 3600 + minute * 60 + second)
