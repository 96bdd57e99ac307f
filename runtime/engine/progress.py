"""Progress: whether requests that run or wait are worked at, as the engine's own figures show between two probes.

``/health`` and ``/v1/models`` are answered by the API server alone, also while the core behind it stands still. All
figures below are set from what the core reports after a step, so that one that moves proves a living core.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress

from .document import Launch, progress_file
from .engine_api import UNREACHABLE, call, in_flight, is_refusal

MARKS = (
    "vllm:generation_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prompt_tokens_total",
    "vllm:request_success_total",
)
"""Series of which at least one moves in a working engine; the cache fills with each chunk of a long prefill, whose
tokens are counted only at its end."""

LEAST_STILL_S = 60.0
"""The least time without a move that is suspect: kernels compiled for a new shape, grammars of structured output."""


def bound_s(launch: Launch) -> float:
    """Return the suspect time: a whole answer at the slow end of the plan takes no longer than a shutdown waits."""
    return max(LEAST_STILL_S, float(launch.shutdown_timeout_s))


def _marks(metrics: str) -> list[str]:
    return sorted(line for line in metrics.splitlines() if line.partition("{")[0].partition(" ")[0] in MARKS)


def _unmoved_since(marks: list[str], now: float) -> float:
    """Return when these marks were first seen by a probe; remember them if they are new."""
    try:
        state = json.loads(progress_file().read_text(encoding="utf-8"))
        if state["marks"] == marks and 0 <= float(state["since"]) <= now:
            return float(state["since"])
    except (OSError, ValueError, TypeError, KeyError):
        pass  # nothing remembered yet, or half of it: this look is the first one
    with suppress(OSError):  # a full disk is no reason to take a working replica out
        progress_file().write_text(json.dumps({"marks": marks, "since": now}), encoding="utf-8")
    return now


def _lets_a_token_stand(launch: Launch, timeout_s: float) -> bool:
    """Ask for one token; a refusal proves nothing about the core, so it is none that stands still."""
    try:
        call("/v1/completions", timeout_s=timeout_s, body={"model": launch.name, "prompt": "a", "max_tokens": 1})
    except UNREACHABLE as error:
        return not is_refusal(error)
    return False


def standing_still_s(launch: Launch, deadline: float) -> float:
    """Return for how many seconds requests have been standing still; 0 while that is short of the bound or unproven.

    Beyond the bound the core is asked for one token: a gauge that stayed behind on an idle engine is no standstill.
    """
    now = time.monotonic()
    try:
        metrics = call("/metrics", timeout_s=max(1.0, deadline - now)).decode()
        asked = in_flight(metrics)
    except UNREACHABLE:
        return 0.0
    if not asked:
        progress_file().unlink(missing_ok=True)
        return 0.0
    still_s = now - _unmoved_since(_marks(metrics), now)
    if still_s <= bound_s(launch):
        return 0.0
    if _lets_a_token_stand(launch, max(1.0, deadline - time.monotonic())):
        return still_s
    progress_file().unlink(missing_ok=True)
    return 0.0
