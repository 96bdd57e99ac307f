"""What would make a plan cheaper: looser objectives, less traffic or fewer output tokens, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from sizing.errors import TonnageError
from sizing.inputs import ModelEntry
from sizing.plan import ServingPlan
from sizing.planning.search.options import Market
from sizing.planning.sensitivity import (
    LOOSENED,
    OUTPUT_FACTORS,
    SAME,
    TRAFFIC_FACTORS,
    cheapest_plan,
    plan_name,
    scaled_objectives,
    with_workload,
)


def what_saves(
    chosen: ServingPlan,
    entry: ModelEntry,
    market: Market,
    *,
    max_monthly_usd: float | None = None,
) -> tuple[tuple[str, str], ...]:
    """Return (change, sentence) for looser objectives, less traffic, fewer output tokens: the smallest step that saves.

    Steps are those of ``sensitivity``; costs are expected, of the GPU nodes.
    """
    load = entry.workload

    def first(steps: Sequence[tuple[str, ModelEntry | None]]) -> str:
        for words, changed in steps:
            saved = _saved(chosen, changed, market, max_monthly_usd)
            if saved:
                return f"{words}: {saved}"
        return f"no cheaper even at {steps[-1][0]}"

    loosened = [scaled_objectives(entry.objectives, factor) for factor in LOOSENED if factor > 1]
    rates = [load.requests_per_second * factor for factor in reversed(TRAFFIC_FACTORS) if factor < 1]
    lengths = [max(round(load.output_tokens * factor), 1) for factor in reversed(OUTPUT_FACTORS) if factor < 1]
    changes: dict[str, list[tuple[str, ModelEntry | None]]] = {
        "looser objectives": [
            (
                f"TTFT p95 {wanted.ttft_p95_ms:,g} ms, TPOT p95 {wanted.tpot_p95_ms:,g} ms",
                entry.model_copy(update={"objectives": wanted}),
            )
            for wanted in loosened
        ],
        "less traffic": [
            (f"{rate:.4g} requests/s", with_workload(entry, "requests_per_second", rate)) for rate in rates
        ],
        "shorter answers": [
            (f"{length} tokens", with_workload(entry, "output_tokens", length))
            for length in lengths
            if length < load.output_tokens
        ],
    }
    return tuple((change, first(steps)) for change, steps in changes.items() if steps)


def _saved(chosen: ServingPlan, entry: ModelEntry | None, market: Market, max_monthly_usd: float | None) -> str:
    """Return what the plan of ``entry`` costs and saves; empty where it is not cheaper or there is none."""
    if entry is None:
        return ""
    try:
        plan = cheapest_plan(entry, market, max_monthly_usd)
    except TonnageError:
        return ""
    ours, theirs, count = chosen.usd_per_hour.expected, plan.usd_per_hour.expected, plan.replicas.expected
    if theirs > ours * (1 - SAME):
        return ""
    replicas = f"{count} replica{'' if count == 1 else 's'}"
    return f"{theirs:,.2f} USD/h, {(theirs / ours - 1) * 100:+.0f} %, {replicas} of {plan_name(plan)}"
