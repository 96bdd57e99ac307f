"""One row of the report on simulated days, and the names of its variants."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.autoscaling.service_model import Day, Service

DRAWN = ("prod", "chat")


FIRST_PROBLEM = 3000
"""The figures of ``serving.json`` were chosen while the days of problems below this were in view."""


MOST_REQUESTS_PER_S = 10.0
"""Random problems with more are left out: a day of theirs takes minutes."""


FEW_CALLS = 100
"""An hour with fewer calls says nothing of a 95th percentile."""


PLANNED, SLOW, REACTIVE, LOSS = "as planned", "slow engines", "without traffic", "loss"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one plan in one variant of its day."""

    name: str
    what: str
    replicas: str
    calls: int
    within: float
    ttft_share: float
    """95th percentile over the objective."""
    tpot_share: float
    worst_within: float
    worst_hour: int
    ups: int
    flaps: int
    cut: int
    mean_replicas: float
    usd: float
    expected_usd: float
    usd_bounds: str

    @property
    def met(self) -> bool:
        """Return whether both 95th percentiles of the day are within the objectives."""
        return max(self.ttft_share, self.tpot_share) <= 1.0


def row_of(service: Service, day: Day) -> Row:
    """Return the figures of a day."""
    plan, wanted, cost = service.plan, service.entry.objectives, service.plan.usd_per_hour
    hours = [(met / calls, hour) for hour, (calls, met) in sorted(day.hours.items()) if calls >= FEW_CALLS]
    worst, hour = min(hours, default=(math.nan, 0))
    kept = "" if service.entry.loss_tolerance == "none" else f", survives a {service.entry.loss_tolerance}"
    return Row(
        name=service.name,
        what=f"{plan.model.split('/')[-1]} on {plan.gpu} x{plan.resources.gpus}{kept}",
        replicas=f"{plan.replicas.floor} / {plan.replicas.expected} / {plan.replicas.ceiling}",
        calls=day.calls,
        within=day.within / max(day.calls, 1),
        ttft_share=day.p95_ms(day.ttft_s) / wanted.ttft_p95_ms,
        tpot_share=day.p95_ms(day.tpot_s) / wanted.tpot_p95_ms,
        worst_within=worst,
        worst_hour=hour,
        ups=sum(change.by > 0 for change in day.changes),
        flaps=day.flaps,
        cut=day.cut,
        mean_replicas=day.mean_replicas,
        usd=day.mean_usd_per_hour,
        expected_usd=cost.expected,
        usd_bounds=f"{cost.floor:.2f} / {cost.expected:.2f} / {cost.ceiling:.2f}",
    )
