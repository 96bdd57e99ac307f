"""Sensitivity of a plan: cost against latency of every option, cost over a day, cost of other workloads.

Data only, drawn by ``cli.render.plan_page``. Every point is planned by ``sizing.planning.planner`` itself, so it cannot
disagree with a plan. Latencies are 95th percentiles in milliseconds, months have 730 hours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sizing.cost.bill import fixed_usd_per_hour, per_month
from sizing.errors import BadInput, OverBudget, TonnageError
from sizing.inputs import Capacity, ModelEntry
from sizing.nodes.pools import fleet_usd_per_hour, split_nodes
from sizing.plan import Bounds, Replicas, ServingPlan
from sizing.planning.planner import PlanResult, plan_model
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market, Option
from sizing.planning.search.parallel_configs import option_name
from sizing.planning.search.replicas import whole_replicas
from sizing.units import HOURS_PER_DAY, HOURS_PER_MONTH
from sizing.workload.workload import Objectives, Workload

LOOSENED = (0.5, 1.0, 2.0, 4.0)
"""Factors on the objectives: options that stricter or looser ones would allow."""


TRAFFIC_FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


OUTPUT_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)


QUIETEST_HOUR = 4
"""Hour of the least traffic without dailyShape: a cosine from there to the busiest hour, twelve hours later."""


EVERY_OPTION = 10_000


SAME = 0.005
"""Relative differences below this are not reported."""


Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class OptionPoint:
    """Cost and latency of one option at the planned traffic."""

    name: str
    gpu: str
    instance_type: str
    engine: str
    """GPU and parallel sizes, as in the name."""
    replicas: Replicas
    usd_per_month: Bounds
    ttft_p95_ms: float
    tpot_p95_ms: float
    meets: bool
    chosen: bool


@dataclass(frozen=True, kw_only=True)
class Hour:
    """One hour of the day: its mean traffic and the burst above it, with the replicas and nodes they need."""

    hour: int
    requests_per_second: float
    burst_requests_per_second: float
    replicas: int
    burst_replicas: int
    usd_per_hour: float


@dataclass(frozen=True, kw_only=True)
class Day:
    """Twenty-four hours of the plan; ``limit_usd_per_hour`` is what the monthly limit leaves for GPU nodes."""

    hours: tuple[Hour, ...]
    stated: bool
    """Whether the hours are those of dailyShape; a cosine otherwise."""
    replicas: Replicas
    usd_per_hour: Bounds
    limit_usd_per_hour: float | None

    @property
    def mean_usd_per_month(self) -> float:
        """USD per month of such days."""
        return sum(hour.usd_per_hour for hour in self.hours) / len(self.hours) * HOURS_PER_MONTH

    @property
    def busiest_usd_per_month(self) -> float:
        """USD per month if every hour were the most expensive one."""
        return max(hour.usd_per_hour for hour in self.hours) * HOURS_PER_MONTH


@dataclass(frozen=True, kw_only=True)
class Step:
    """The plan for another workload; ``refusal``: why there is none, ``over_limit``: it exceeds the limit."""

    factor: float
    value: float
    name: str = ""
    gpu: str = ""
    replicas: Replicas | None = None
    usd_per_month: Bounds | None = None
    over_limit: bool = False
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class PlanStudy:
    """A plan and its sensitivity."""

    result: PlanResult
    objectives: Objectives
    max_monthly_usd: float | None
    options: tuple[OptionPoint, ...]
    day: Day
    traffic: tuple[Step, ...]
    output_tokens: tuple[Step, ...]


def study_plan(
    result: PlanResult,
    entry: ModelEntry,
    market: Market,
    *,
    max_monthly_usd: float | None = None,
    progress: Progress = lambda _: None,
) -> PlanStudy:
    """Return the sensitivity of ``result``, which ``plan_model`` returned for the same arguments.

    ``progress`` is called with one line before each part. Raises only what ``plan_model`` raises.
    """
    progress("every option at tighter and looser objectives")
    options = option_points(result.chosen, entry, market)
    progress("the day of the choice, hour by hour")
    day = day_of(result.chosen, entry, market, max_monthly_usd=max_monthly_usd)
    progress(f"the plan at {len(TRAFFIC_FACTORS)} times the traffic and {len(OUTPUT_FACTORS)} lengths of the output")
    workload = entry.workload

    def steps(key: str, values: Sequence[tuple[float, float]]) -> tuple[Step, ...]:
        return tuple(
            _step(with_workload(entry, key, value), factor, value, market, max_monthly_usd) for factor, value in values
        )

    lengths = [(factor, max(round(workload.output_tokens * factor), 1)) for factor in OUTPUT_FACTORS]
    return PlanStudy(
        result=result,
        objectives=entry.objectives,
        max_monthly_usd=max_monthly_usd,
        options=options,
        day=day,
        traffic=steps("requests_per_second", [(f, workload.requests_per_second * f) for f in TRAFFIC_FACTORS]),
        output_tokens=steps("output_tokens", lengths),
    )


def plan_name(plan: ServingPlan) -> str:
    """Name a plan as its rejections do: ``L40S TP1 on g6e.xlarge``."""
    return f"{_engine_name(plan)} on {plan.instance_type}"


def _engine_name(plan: ServingPlan) -> str:
    return option_name(plan.gpu, plan.tensor_parallel, plan.pipeline_parallel)


def option_points(chosen: ServingPlan, entry: ModelEntry, market: Market) -> tuple[OptionPoint, ...]:
    """Return every option that fits at the planned traffic, cheapest expected first.

    Planned for the objectives of ``entry`` times each of ``LOOSENED``: what stricter ones cost and looser ones save.
    ``meets`` is False for options that miss the objectives of ``entry``.
    """
    found: dict[tuple[str, int, float], OptionPoint] = {}
    first = _point(chosen, entry.objectives, chosen=True)
    found[_shown(first)] = first
    for factor in LOOSENED:
        objectives = scaled_objectives(entry.objectives, factor)
        wanted = entry.model_copy(update={"objectives": objectives})
        try:
            result = plan_model(wanted, market, top=EVERY_OPTION)
        except TonnageError:
            continue
        for plan in (result.chosen, *result.alternatives):
            point = _point(plan, entry.objectives, chosen=False)
            found.setdefault(_shown(point), point)
    return tuple(sorted(found.values(), key=lambda p: (p.usd_per_month.expected, p.tpot_p95_ms, p.name)))


def _shown(point: OptionPoint) -> tuple[str, int, float]:
    """Key of a point: points with the same name, replicas and TTFT to a tenth of a millisecond are one."""
    return point.name, point.replicas.expected, round(point.ttft_p95_ms, 1)


def scaled_objectives(objectives: Objectives, factor: float) -> Objectives:
    """Return the objectives times ``factor``, within the limits of the settings."""
    return objectives.model_copy(
        update={
            "ttft_p95_ms": min(objectives.ttft_p95_ms * factor, 600_000.0),
            "tpot_p95_ms": min(objectives.tpot_p95_ms * factor, 60_000.0),
        }
    )


def _point(plan: ServingPlan, objectives: Objectives, *, chosen: bool) -> OptionPoint:
    return OptionPoint(
        name=plan_name(plan),
        gpu=plan.gpu,
        instance_type=plan.instance_type,
        engine=_engine_name(plan),
        replicas=plan.replicas,
        usd_per_month=per_month(plan.usd_per_hour),
        ttft_p95_ms=plan.ttft_p95_ms,
        tpot_p95_ms=plan.tpot_p95_ms,
        meets=plan.meets and plan.ttft_p95_ms <= objectives.ttft_p95_ms and plan.tpot_p95_ms <= objectives.tpot_p95_ms,
        chosen=chosen,
    )


def frontier(points: Sequence[OptionPoint], latency: Callable[[OptionPoint], float]) -> tuple[OptionPoint, ...]:
    """Return the Pareto frontier of expected cost and ``latency``, cheapest first."""
    kept: list[OptionPoint] = []
    for point in sorted(points, key=lambda p: (p.usd_per_month.expected, latency(p), p.name)):
        if not kept or latency(point) < latency(kept[-1]) - 1e-9:
            kept.append(point)
    return tuple(kept)


def chosen_option(chosen: ServingPlan, entry: ModelEntry, market: Market) -> Option:
    """Return the option that ``chosen`` was made from."""
    for option in enumerate_options(entry, market).options:
        same_engine = option.engine.settings == chosen.engine and option.engine.gpu.name == chosen.gpu
        same_nodes = option.instance.instance_type == chosen.instance_type and option.replicas == chosen.replicas
        if same_engine and same_nodes and option.usd_per_hour == chosen.usd_per_hour:
            return option
    raise BadInput("study", f"{plan_name(chosen)} is no option of this workload")


def shares_of_day(workload: Workload) -> tuple[float, ...]:
    """Return the traffic of 24 hours over that of the busiest: dailyShape, else a cosine from ``QUIETEST_HOUR``."""
    if workload.daily_shape is not None:
        return workload.daily_shape
    least = workload.minimum_share
    turns = [2 * math.pi * (hour - QUIETEST_HOUR) / HOURS_PER_DAY for hour in range(HOURS_PER_DAY)]
    return tuple(least + (1 - least) * (1 - math.cos(turn)) / 2 for turn in turns)


def day_of(
    chosen: ServingPlan,
    entry: ModelEntry,
    market: Market,
    *,
    max_monthly_usd: float | None = None,
) -> Day:
    """Return the day of a plan: traffic, bursts of ``peakFactor``, replicas and cost by hour."""
    option = chosen_option(chosen, entry, market)
    fixed = option.ceiling_usd_per_hour - option.usd_per_hour.ceiling
    fixed += fixed_usd_per_hour(entry, market.capacity.zones, market.region, market.catalogue)
    hours = []
    for hour, share in enumerate(shares_of_day(entry.workload)):
        burst = share * entry.workload.peak_factor
        replicas = _replicas_at(share, entry, option)
        hours.append(
            Hour(
                hour=hour,
                requests_per_second=entry.workload.requests_per_second * share,
                burst_requests_per_second=entry.workload.requests_per_second * burst,
                replicas=replicas,
                burst_replicas=max(_replicas_at(burst, entry, option), replicas),
                usd_per_hour=nodes_usd_per_hour(replicas, option, market.capacity),
            )
        )
    return Day(
        hours=tuple(hours),
        stated=entry.workload.daily_shape is not None,
        replicas=option.replicas,
        usd_per_hour=option.usd_per_hour,
        limit_usd_per_hour=None if max_monthly_usd is None else max_monthly_usd / HOURS_PER_MONTH - fixed,
    )


def _replicas_at(share: float, entry: ModelEntry, option: Option) -> int:
    """Return the replicas at ``share`` of the busiest hour, between floor and ceiling of the plan."""
    parts = option.engine.rates.replicas(entry.workload, share)
    counted = whole_replicas(parts, option.per_node, entry.loss_tolerance, len(option.zones))
    return min(max(counted, option.replicas.floor), option.replicas.ceiling)


def nodes_usd_per_hour(replicas: int, option: Option, capacity: Capacity) -> float:
    """Return the expected cost of the nodes for ``replicas`` at the prices of the plan."""
    counts = Replicas(floor=min(option.replicas.floor, replicas), expected=replicas, ceiling=option.replicas.ceiling)
    split = split_nodes(counts, option.per_node, capacity.spot_share)
    return fleet_usd_per_hour(split, option.offers).expected


def with_workload(entry: ModelEntry, key: str, value: float) -> ModelEntry | None:
    """Return the entry with another value of a workload key; None where the settings do not allow it."""
    try:
        workload = entry.workload.restated({key: value})
    except ValueError:
        return None
    return entry.model_copy(update={"workload": workload})


def _step(entry: ModelEntry | None, factor: float, value: float, market: Market, max_monthly_usd: float | None) -> Step:
    if entry is None:
        return Step(factor=factor, value=value, refusal="beyond what a workload may state")
    over = False
    try:
        try:
            plan = cheapest_plan(entry, market, max_monthly_usd)
        except OverBudget:
            over = True
            plan = cheapest_plan(entry, market, None)
    except TonnageError as error:
        return Step(factor=factor, value=value, refusal=error.problem)
    return Step(
        factor=factor,
        value=value,
        name=plan_name(plan),
        gpu=_engine_name(plan),
        replicas=plan.replicas,
        usd_per_month=per_month(plan.usd_per_hour),
        over_limit=over,
    )


def cheapest_plan(entry: ModelEntry, market: Market, max_monthly_usd: float | None) -> ServingPlan:
    """Return the cheapest plan without alternatives."""
    return plan_model(entry, market, max_monthly_usd=max_monthly_usd, top=0).chosen


def trade(chosen: ServingPlan, other: ServingPlan) -> tuple[str, ...]:
    """Return how ``other`` differs from ``chosen`` in cost, bounds, latency and replicas, without equal figures."""
    ours, theirs = chosen.usd_per_hour, other.usd_per_hour
    rows = [
        _change("expected cost", ours.expected, theirs.expected),
        _change("ceiling", ours.ceiling, theirs.ceiling),
        _change("floor", ours.floor, theirs.floor),
        _change("TTFT p95", chosen.ttft_p95_ms, other.ttft_p95_ms),
        _change("TPOT p95", chosen.tpot_p95_ms, other.tpot_p95_ms),
        _count("replicas", chosen.replicas.expected, other.replicas.expected),
    ]
    if other.memory.kv_tokens != chosen.memory.kv_tokens and chosen.memory.kv_tokens > 0:
        rows.append(_change("KV tokens of a replica", chosen.memory.kv_tokens, other.memory.kv_tokens))
    return tuple(row for row in rows if row)


def _change(name: str, ours: float, theirs: float) -> str:
    if ours <= 0 or abs(theirs / ours - 1) < SAME:
        return ""
    ratio = theirs / ours
    return f"{name} x{ratio:.1f}" if ratio >= 2 else f"{name} {(ratio - 1) * 100:+.0f} %"


def _count(name: str, ours: int, theirs: int) -> str:
    return "" if ours == theirs else f"{name} {ours} -> {theirs}"
