"""Text of rejections and of NoPlan, and the hint."""

from __future__ import annotations

import math

from sizing.catalogue import Catalogue
from sizing.inputs import ModelEntry
from sizing.planning.search.options import Option, Search
from sizing.planning.search.parallel_configs import Rejected, RejectionKind


def option_title(option: Option) -> str:
    """Name an option by engine and instance type, as alternatives and rejections do."""
    return f"{option.engine.name} on {option.instance.instance_type}"


_MORE = ("expected cost", "GPUs", "idle replicas", "cost at the most traffic", "cost at the floor", "pipeline stages")
"""Names of the parts of ``Option.order``; then come the number of types and the name."""


def why_more_expensive(option: Option, chosen: Option) -> str:
    """Return how much more ``option`` costs than the choice or, at the same cost, what it needs more of."""
    ours, best = option.usd_per_hour.expected, chosen.usd_per_hour.expected
    if option.order[0] > chosen.order[0]:
        return f"dearer: {ours:.2f} USD/h expected against {best:.2f} USD/h of {option_title(chosen)}"
    differs = (name for name, own, other in zip(_MORE, option.order, chosen.order, strict=False) if own != other)
    more = next(differs, "")
    but = f"more {more}" if more else "nothing better"
    return f"as dear as {option_title(chosen)} ({best:.2f} USD/h expected), with {but}"


def no_plan(entry: ModelEntry, search: Search) -> str:
    """Return the best latency that can be reached, or why nothing can be bought."""
    wanted = entry.objectives
    (ttft, ttft_by), (tpot, tpot_by) = search.best_latency.ttft_ms, search.best_latency.tpot_ms
    if search.configs and not search.placed and math.isinf(ttft):
        return f"{entry.model} runs on no GPU that is allowed: {_last_reasons(search)}"
    if search.best_latency.missed and not search.placed:
        return (
            f"no option meets ttftP95Ms {wanted.ttft_p95_ms:g} and tpotP95Ms {wanted.tpot_p95_ms:g}; best reachable "
            f"is TTFT p95 {math.ceil(ttft)} ms on {ttft_by} and TPOT p95 {tpot:.1f} ms on {tpot_by}"
        )
    return f"no option is left: {_last_reasons(search)}"


def no_plan_way_out(search: Search, region: str, catalogue: Catalogue) -> str:
    """Return what to change in the stack file so that a plan exists."""
    scarce = "lower capacity.zones, " if any(one.kind == "too-few-zones" for one in search.rejected) else ""
    if not search.configs:
        sold = [gpu.name for gpu in catalogue.gpus if catalogue.instances(gpu.name, region)]
        return f"{scarce}allow GPUs that {region} sells: {', '.join(sorted(sold))}"
    if any(one.kind == "quota" for one in search.rejected):
        return "ask for more in Service Quotas, allow GPUs of another family, lower requestsPerSecond or spotShare"
    if search.placed:
        return "lower requestsPerSecond or capacity.zones, allow more GPUs, or raise replicas.ceiling"
    if search.best_latency.missed:
        return f"loosen the objectives, {scarce}allow more GPUs or choose a smaller model"
    return f"{scarce}allow more GPUs"


_MOST_TELLING: tuple[RejectionKind, ...] = (
    "quota", "too-many-replicas", "too-few-zones", "pod-too-large", "misses-objectives", "does-not-fit",
)  # fmt: skip
_LEAST_TELLING: tuple[RejectionKind, ...] = ("no-machine", "not-sold")
"""Kinds named last; those in neither list come in between."""


def _last_reasons(search: Search) -> str:
    def rank(one: Rejected) -> int:
        if one.kind in _MOST_TELLING:
            return _MOST_TELLING.index(one.kind)
        return len(_MOST_TELLING) + (1 + _LEAST_TELLING.index(one.kind) if one.kind in _LEAST_TELLING else 0)

    most_telling = sorted(search.rejected, key=rank)[:3]
    return "; ".join(f"{one.option}: {one.reason}" for one in most_telling) or "no GPU is allowed"
