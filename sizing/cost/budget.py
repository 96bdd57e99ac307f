"""The smallest monthly budget for a ceiling, and the alarm thresholds of a declared budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sizing.catalogue.files import serving_facts, serving_source
from sizing.cost.bill import per_month
from sizing.plan import Bounds, BudgetPlan, Figure, NodePoolPlan
from sizing.units import HOURS_PER_MONTH


def least_budget(ceiling_usd_per_hour: float) -> float:
    """Return the smallest budget that the ceiling does not exceed, in USD per month, rounded up to a cent."""
    return math.ceil(ceiling_usd_per_hour * HOURS_PER_MONTH * 100) / 100


def budget_plan(
    monthly_usd: float, on_exceed: str, notify: Sequence[str], burn: Bounds, pools: Sequence[NodePoolPlan]
) -> BudgetPlan:
    """Return the budget with alarm thresholds: floor, expected and ceiling as percentages of it, and 100."""
    month = per_month(burn)
    rates = (month.floor, month.expected, month.ceiling)
    percents = {round(max(rate / monthly_usd * 100, 1.0), 1) for rate in rates}
    facts, thresholds = serving_facts("budget"), sorted({min(percent, 100.0) for percent in percents} | {100.0})
    kept = tuple(thresholds[-facts["max_thresholds"] :])
    return BudgetPlan(
        monthly_usd=monthly_usd,
        on_exceed=on_exceed,
        notify=tuple(sorted(notify)),
        actual_thresholds_percent=kept,
        forecast_threshold_percent=facts["forecast_threshold_percent"],
        fast_burn_gpu_nodes=sum(pool.ceiling_instances for pool in pools),
        fast_burn_vcpus=fast_burn_vcpus(pools),
        alarm_period_s=facts["alarm_period_s"],
        alarm_periods=facts["alarm_periods"],
        freeze_at_percent=facts["freeze_at_percent"],
        figures=(_thresholds(kept, month, monthly_usd), _fast_burn(pools)),
    )


def fast_burn_vcpus(pools: Sequence[NodePoolPlan]) -> int:
    """Return the vCPUs of GPU machines above which something outside the plan buys machines.

    All pools at their ceilings, each with the largest machine that it may buy.
    """
    return sum(pool.ceiling_instances * max(offer.vcpu for offer in pool.offers) for pool in pools)


def _thresholds(percents: Sequence[float], month: Bounds, monthly_usd: float) -> Figure:
    return Figure(
        name="actual_thresholds_percent",
        value=", ".join(f"{percent:g}" for percent in percents),
        unit="% of the monthly budget",
        rule="the three burn rates as shares of the budget, and the budget itself",
        inputs={
            "floor_usd_per_month": round(month.floor, 2),
            "expected_usd_per_month": round(month.expected, 2),
            "ceiling_usd_per_month": round(month.ceiling, 2),
            "monthly_usd": monthly_usd,
        },
        source=serving_source("budget"),
    )


def _fast_burn(pools: Sequence[NodePoolPlan]) -> Figure:
    facts = serving_facts("budget")
    return Figure(
        name="fast_burn_vcpus",
        value=fast_burn_vcpus(pools),
        unit="vCPU",
        rule="nodes of each pool at its ceiling x vCPUs of the largest machine that it may buy; the alarm tells when"
        " more run in every one of the periods",
        inputs={
            **{f"nodes_{pool.name}": pool.ceiling_instances for pool in pools},
            "alarm_period_s": facts["alarm_period_s"],
            "alarm_periods": facts["alarm_periods"],
        },
        source=serving_source("budget"),
    )
