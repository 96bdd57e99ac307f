"""The smallest monthly budget for a ceiling, and the alarm thresholds of a declared budget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sizing.catalogue.files import serving_facts
from sizing.cost.bill import per_month
from sizing.plan import Bounds, BudgetPlan, NodePoolPlan
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
    thresholds = sorted({min(percent, 100.0) for percent in percents} | {100.0})
    return BudgetPlan(
        monthly_usd=monthly_usd,
        on_exceed=on_exceed,
        notify=tuple(sorted(notify)),
        actual_thresholds_percent=tuple(thresholds[-serving_facts("budget")["max_thresholds"] :]),
        forecast_threshold_percent=100.0,
        fast_burn_gpu_nodes=sum(pool.ceiling_instances for pool in pools),
    )
