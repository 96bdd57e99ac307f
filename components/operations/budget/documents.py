"""Budget alarms: what is counted, when somebody is told, what a freeze denies.

A budget of AWS is not a brake: its data are hours old and a forecast needs weeks of history. So the plan's limits
bound the bill, the budget tells people, and an alarm on vCPUs of GPU machines notices within minutes that something
outside the plan buys machines.
"""

from __future__ import annotations

from sizing.errors import BadInput
from sizing.plan import Bounds, BudgetPlan

STACK_TAG = "tonnage:stack"
"""Cost allocation tag of every resource; it must be activated once in the account that pays."""
USAGE_CLASSES = ("G/OnDemand", "G/Spot", "P/OnDemand", "P/Spot")
"""Classes of the usage metric of EC2 (namespace AWS/Usage, resource vCPU): the G (with VT) and P families."""
MOST_THRESHOLDS = 9
"""AWS Budgets takes ten notifications per budget; one is the forecast."""
MOST_ADDRESSES = 10
"""Limit of AWS Budgets per notification."""


def check_plan(plan: BudgetPlan, burn: Bounds) -> None:
    """Raise ``BadInput`` for thresholds or addresses that AWS Budgets would refuse."""
    if plan.monthly_usd <= 0:
        raise BadInput("budget.monthlyUsd", f"{plan.monthly_usd} USD", limit="more than 0")
    if plan.on_exceed not in {"notify", "freeze"}:
        raise BadInput("budget.onExceed", f"{plan.on_exceed!r} is not known", way_out="notify or freeze")
    if not isinstance(plan.notify, (list, tuple)):
        raise BadInput("budget.notify", f"{plan.notify!r} is not a list", way_out="list the addresses")
    if len(plan.notify) > MOST_ADDRESSES:
        raise BadInput("budget.notify", f"{len(plan.notify)} addresses", limit=f"{MOST_ADDRESSES} by AWS Budgets")
    if len(plan.actual_thresholds_percent) > MOST_THRESHOLDS:
        raise BadInput("budget", "too many thresholds", limit=f"{MOST_THRESHOLDS} by AWS Budgets")
    if not burn.floor <= burn.expected <= burn.ceiling:
        raise BadInput(
            "budget.burn", f"{burn.floor}, {burn.expected}, {burn.ceiling}", limit="floor <= expected <= ceiling"
        )


def tag_filter(stack: str) -> str:
    """Return the value of the filter TagKeyValue: user-defined tags carry the prefix ``user:``."""
    return f"user:{STACK_TAG}${stack}"


def notifications(plan: BudgetPlan) -> list[dict[str, object]]:
    """Return the notifications: each actual threshold, then the forecast; percent of the monthly limit."""
    actual = [
        {"notification_type": "ACTUAL", "threshold": float(percent)}
        for percent in sorted(set(plan.actual_thresholds_percent))
    ]
    forecast = {"notification_type": "FORECASTED", "threshold": float(plan.forecast_threshold_percent)}
    common = {"comparison_operator": "GREATER_THAN", "threshold_type": "PERCENTAGE"}
    return [{**common, **each} for each in [*actual, forecast]]


def alarm_queries(plan: BudgetPlan) -> list[dict[str, object]]:
    """Return the alarm's metric queries: vCPUs in use per class, and their sum (a class without machines counts 0)."""
    metrics: list[dict[str, object]] = [
        {
            "id": f"m{place}",
            "return_data": False,
            "metric": {
                "namespace": "AWS/Usage",
                "metric_name": "ResourceCount",
                "period": plan.alarm_period_s,
                "stat": "Maximum",
                "dimensions": {"Service": "EC2", "Type": "Resource", "Resource": "vCPU", "Class": name},
            },
        }
        for place, name in enumerate(USAGE_CLASSES)
    ]
    # SUM of a list passes over a class that this account has never used; "+" would have no value at all.
    total = f"SUM([{','.join(f'FILL(m{place},0)' for place in range(len(USAGE_CLASSES)))}])"
    return [*metrics, {"id": "vcpus", "expression": total, "label": "vCPUs of GPU machines", "return_data": True}]


def alarm_text(stack: str, burn: Bounds, vcpus: int) -> str:
    """Return what the alarm says to who reads it at night."""
    return (
        f"More than {vcpus} vCPUs of GPU machines run in this account and region; {stack} may use {vcpus} at its "
        f"ceiling of {burn.ceiling:.2f} USD/h (expected {burn.expected:.2f}). Look for machines outside the plan."
    )
