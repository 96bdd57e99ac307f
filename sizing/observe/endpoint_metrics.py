"""What a running vLLM reports at ``/metrics``: its cache and the load it has carried.

Names of 0.32, and those that older versions used instead. Counters are totals since the start; latencies come from
histograms, quantiles by linear interpolation within a bucket, as Prometheus does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from sizing.errors import BadInput
from sizing.observe.logs.settings import Setting
from sizing.units import GIB

WHERE = "endpoint"
CACHE = "vllm:cache_config_info"


RUNNING, WAITING = ("vllm:num_requests_running",), ("vllm:num_requests_waiting",)


USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
PREEMPTIONS = ("vllm:num_preemptions_total",)
PREFIX_QUERIES = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
PREFIX_HITS = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")


PROMPT, GENERATION = ("vllm:prompt_tokens_total",), ("vllm:generation_tokens_total",)


REQUESTS = ("vllm:request_success_total",)
TTFT = ("vllm:time_to_first_token_seconds",)
TPOT = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
LABELS = {
    "block_size": "block_size",
    "cache_dtype": "kv_cache_dtype",
    "enable_prefix_caching": "enable_prefix_caching",
    "gpu_memory_utilization": "gpu_memory_utilization",
}
"""Labels of the cache and the arguments of vLLM that they are."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One line of ``/metrics``."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, kw_only=True)
class Latency:
    """A histogram of seconds, in milliseconds; quantiles are None beyond its last bucket."""

    count: int
    mean_ms: float
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, kw_only=True)
class ServingLoad:
    """Requests now, and totals since the start. ``kv_cache_usage`` and ``prefix_hit_rate`` are shares of 1."""

    running: int
    waiting: int
    kv_cache_usage: float | None
    preemptions: int
    prefix_hit_rate: float | None
    prompt_tokens: int
    generation_tokens: int
    requests: int
    ttft: Latency | None
    tpot: Latency | None


@dataclass(frozen=True, kw_only=True)
class EndpointMetrics:
    """Settings, capacity of the smallest engine, and load over all engines of one server."""

    model_name: str | None
    engines: int
    arguments: Mapping[str, Setting]
    num_gpu_blocks: int | None
    kv_tokens: int | None
    max_concurrency: float | None
    kv_cache_gib: float | None
    load: ServingLoad


def endpoint_metrics(samples: Iterable[Sample]) -> EndpointMetrics:
    """Return what ``samples`` say; BadInput when none is of vLLM or the cache is not described."""
    kept = [sample for sample in samples if sample.name.startswith("vllm:")]
    caches = [sample.labels for sample in kept if sample.name == CACHE]
    if not kept:
        raise BadInput(WHERE, "its /metrics has no line of vLLM", way_out="give the address of a vLLM server")
    if not caches:
        raise BadInput(WHERE, f"its /metrics has no {CACHE}", way_out="start vLLM without --disable-log-stats")
    tightest = min(caches, key=lambda labels: _whole(labels, "num_gpu_blocks") or inf)
    names = sorted({sample.labels["model_name"] for sample in kept if "model_name" in sample.labels})
    kv_bytes = _number(tightest, "kv_cache_memory_bytes")
    return EndpointMetrics(
        model_name=names[0] if names else None,
        engines=len(caches),
        arguments=_arguments(tightest),
        num_gpu_blocks=_whole(tightest, "num_gpu_blocks"),
        kv_tokens=_whole(tightest, "kv_cache_size_tokens"),
        max_concurrency=_number(tightest, "kv_cache_max_concurrency"),
        kv_cache_gib=kv_bytes / GIB if kv_bytes is not None else None,
        load=_load(kept),
    )


def _number(labels: Mapping[str, str], key: str) -> float | None:
    try:
        value = float(labels.get(key, "None"))
    except ValueError:
        return None
    return value if isfinite(value) and 0 <= value < 1e15 else None


def _whole(labels: Mapping[str, str], key: str) -> int | None:
    value = _number(labels, key)
    return int(value) if value else None


def _arguments(labels: Mapping[str, str]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for label, name in LABELS.items():
        text = labels.get(label, "None")[:40]
        if text in {"True", "False"}:
            found[name] = text == "True"
        elif name == "kv_cache_dtype" and text != "None":
            found[name] = text
        elif (value := _number(labels, label)) is not None:
            found[name] = int(value) if name == "block_size" else value
    return found


def _load(samples: Sequence[Sample]) -> ServingLoad:
    queries = _total(samples, PREFIX_QUERIES)
    usages = [sample.value for sample in samples if sample.name in USAGE and isfinite(sample.value)]
    return ServingLoad(
        running=int(_total(samples, RUNNING)),
        waiting=int(_total(samples, WAITING)),
        kv_cache_usage=max(usages, default=None),
        preemptions=int(_total(samples, PREEMPTIONS)),
        prefix_hit_rate=_total(samples, PREFIX_HITS) / queries if queries else None,
        prompt_tokens=int(_total(samples, PROMPT)),
        generation_tokens=int(_total(samples, GENERATION)),
        requests=int(_total(samples, REQUESTS)),
        ttft=_latency(samples, TTFT),
        tpot=_latency(samples, TPOT),
    )


def _total(samples: Sequence[Sample], names: Sequence[str]) -> float:
    """Return the sum over engines and reasons of the first of ``names`` that is there."""
    for name in names:
        values = [sample.value for sample in samples if sample.name == name and 0 <= sample.value < 1e15]
        if values:
            return sum(values)
    return 0.0


def _latency(samples: Sequence[Sample], names: Sequence[str]) -> Latency | None:
    for name in names:
        count = _total(samples, (f"{name}_count",))
        if count:
            buckets = _buckets(samples, f"{name}_bucket")
            return Latency(
                count=int(count),
                mean_ms=1000 * _total(samples, (f"{name}_sum",)) / count,
                p50_ms=_quantile(buckets, 0.50),
                p95_ms=_quantile(buckets, 0.95),
            )
    return None


def _buckets(samples: Sequence[Sample], name: str) -> list[tuple[float, float]]:
    """Return (upper bound in seconds, count up to it) over all engines, sorted."""
    counts: dict[float, float] = {}
    for sample in samples:
        if sample.name == name and 0 <= sample.value < 1e15:
            try:
                bound = float(sample.labels.get("le", "nan"))
            except ValueError:
                continue
            if bound >= 0:
                counts[bound] = counts.get(bound, 0.0) + sample.value
    return sorted(counts.items())


def _quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """Return milliseconds at ``share`` of the requests; None when they lie beyond the last finite bound."""
    wanted, lower, below = share * buckets[-1][1] if buckets else 0.0, 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted and count > below:
            if not isfinite(bound):
                return None
            return 1000 * (lower + (bound - lower) * (wanted - below) / (count - below))
        lower, below = bound, max(count, below)
    return None
