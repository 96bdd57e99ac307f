"""What a stack should say instead, given what runs: the measured workload planned by the same planner.

The entry with every figure that differs (``sizing.observe.advice_findings``) is planned within the stack and compared
with keeping the stack as it is under the measured traffic. Months have 730 hours; costs are of the GPU nodes of the
one model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sizing.catalogue import Catalogue
from sizing.cost.bill import per_month
from sizing.cost.budget import least_budget
from sizing.errors import BadInput, OverBudget, TonnageError
from sizing.inputs import ModelEntry, ReplicaBounds
from sizing.observe.advice_findings import (
    Finding,
    cache_finding,
    gauges,
    latency_findings,
    length_findings,
    rate_finding,
)
from sizing.observe.measured import Measured
from sizing.observe.running import Running
from sizing.plan import Bounds, Replicas, ServingPlan
from sizing.planning.planner import plan_stack
from sizing.planning.request import PlanRequest
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Option
from sizing.planning.search.replicas import replicas_of
from sizing.planning.sensitivity import plan_name
from sizing.units import HOURS_PER_MONTH

KEEP = 0.05
"""Least change of the expected bill that is worth a rollout, as a share."""
NOTHING = "nothing has to change"
SEQUENCES_STEP = 8
"""Batch sizes are captured in steps of 8."""
NONE_SEEN = 3.0
"""Upper 95 % bound of a count of zero (rule of three): the least rate that is planned on, over the window."""
MOST_PREFIX_SHARE = 0.95
"""Highest prefix share that is planned on: one emptied cache would miss every objective."""
ANY_BUDGET_USD = 1_000_000_000.0


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way to run the model: which machines, how many, at what cost a month."""

    name: str
    replicas: Replicas
    usd_per_month: Bounds


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Keep, or the entry to state instead with what that saves (negative: costs) a month, expected.

    ``kept`` is the stack as it is under the measured traffic, None where its ceiling does not carry that; ``proposed``
    is None where nothing does. ``smallest_budget_usd`` is set where the proposal exceeds the budget.
    """

    change: bool
    entry: ModelEntry
    planned: Side
    kept: Side | None
    proposed: Side | None = None
    saving: float | None = None
    smallest_budget_usd: float | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Advice:
    """An answer with everything that led to it."""

    stack: str
    entry: ModelEntry
    running: Running
    replicas_running: int
    findings: tuple[Finding, ...]
    answer: Answer
    budget_usd: float
    notes: tuple[str, ...]


def find_entry(request: PlanRequest, name: str | None, served: str | None) -> ModelEntry:
    """Return the entry called ``name``, else the one that is served; BadInput lists the entries."""
    wanted = [one for one in request.models if name is None or name in {one.name, one.model}]
    if name is None and len(wanted) > 1 and served is not None:
        wanted = [one for one in wanted if served in {one.name, one.model}]
    if len(wanted) == 1:
        return wanted[0]
    problem = f"{name!r} is not in stack {request.stack}" if name is not None else f"{request.stack} has several models"
    names = ", ".join(one.name for one in request.models)
    raise BadInput("model", problem, way_out=f"name one with --model: {names}")


def check_served(entry: ModelEntry, served: str | None, catalogue: Catalogue) -> None:
    """Raise BadInput when the engine names another model of the catalogue than the entry's."""
    if served is None or served in {entry.name, entry.model}:
        return
    tail = served.rstrip("/").rpartition("/")[2].lower()
    known = {name.rpartition("/")[2].lower(): name for name in catalogue.models}
    other = known.get(tail)
    if other is not None and other != entry.model:
        raise BadInput("model", f"the engine serves {other}, {entry.name} is {entry.model}", way_out="name its entry")


def advise(
    request: PlanRequest, entry: ModelEntry, running: Running | None, measured: Measured, *, replicas: int | None = None
) -> Advice:
    """Compare what runs with the plan of ``entry`` and propose the entry that fits it.

    ``replicas`` share the traffic evenly; without it, as many as the plan keeps at the load of the one that was read.
    Raises what planning the stack as it is raises, and BadInput when nothing was measured.
    """
    if running is None and measured.kv_tokens is None:
        raise BadInput(measured.source, "holds neither throughput nor the size of the cache", way_out="--endpoint URL")
    plan = next(one for one in plan_stack(request).models if one.name == entry.name)
    figures = running or _idle(measured.source)
    lengths = length_findings(entry, figures)
    sized = _with_lengths(entry, lengths, figures)
    count = replicas or _replicas_running(request, sized, plan, figures)
    findings = [
        rate_finding(entry, figures, count), *lengths, *latency_findings(entry, plan, figures),
        cache_finding(plan, measured.kv_tokens), *gauges(plan, figures),
    ]  # fmt: skip
    proposed = _proposed(sized, plan, findings, figures, measured.kv_tokens)
    with_effects = tuple(replace(one, effect=_effect(one, request, entry, proposed, plan)) for one in findings)
    answer = _answer(request, entry, proposed, plan, with_effects)
    return Advice(
        stack=request.stack,
        entry=entry,
        running=figures,
        replicas_running=count,
        findings=with_effects,
        answer=answer,
        budget_usd=request.budget.monthly_usd,
        notes=(*answer.notes, *figures.notes, *_notes(answer, request, plan, running, None if replicas else count)),
    )


def _idle(source: str) -> Running:
    """Return the figures of a log that ends before any traffic."""
    return Running(
        source=source, rate_of="", seconds=None, requests=0, requests_per_s=None, judged_requests=0, input_tokens=None,
        output_tokens=None, prefix_share=None, ttft_p95_ms=None, tpot_p95_ms=None, running=0, waiting=0,
        kv_cache_usage=None, preemptions=0,
    )  # fmt: skip


def _with_lengths(entry: ModelEntry, findings: Sequence[Finding], figures: Running) -> ModelEntry:
    values: dict[str, Any] = {}
    for one in findings:
        if one.differs and one.measured is not None:
            if one.name == "prefix_share":
                values[one.name] = min(math.floor(one.measured * 100) / 100, MOST_PREFIX_SHARE)
            else:
                values[one.name] = max(round(one.measured), 1)
    return _with_workload(entry, values, figures.source)


def _with_workload(entry: ModelEntry, values: Mapping[str, Any], source: str) -> ModelEntry:
    if not values:
        return entry
    try:
        workload = entry.workload.restated(values)
    except ValueError as error:
        raise BadInput(source, f"measured workload cannot be planned: {dict(values)}") from error
    return entry.model_copy(update={"workload": workload})


def _engine_option(request: PlanRequest, entry: ModelEntry, plan: ServingPlan, bounds: ReplicaBounds) -> Option | None:
    """Return the machines of ``plan`` with the workload of ``entry``; None when they do not carry it at all."""
    pinned = entry.engine.model_copy(update={"gpu": plan.gpu, "tensor_parallel": plan.tensor_parallel})
    wanted = entry.model_copy(update={"engine": pinned, "replicas": bounds})
    try:
        options = enumerate_options(wanted, request.market).options
    except TonnageError:
        return None
    return next((one for one in options if one.instance.instance_type == plan.instance_type), None)


def _priced(
    request: PlanRequest, entry: ModelEntry, plan: ServingPlan, option: Option, bounds: ReplicaBounds
) -> tuple[Replicas, Bounds]:
    """Return replicas and cost of ``option``: on its own nodes, or its part of them where the plan shares nodes."""
    if not plan.shares_with:
        return option.replicas, option.usd_per_hour
    pinned = entry.engine.model_copy(update={"gpu": plan.gpu, "tensor_parallel": plan.tensor_parallel})
    pinned_entry = entry.model_copy(update={"engine": pinned, "replicas": bounds})
    whole = plan_stack(request.with_entry(pinned_entry).with_budget(ANY_BUDGET_USD))
    model = next(one for one in whole.models if one.name == entry.name)
    return model.replicas, model.usd_per_hour


def _replicas_running(request: PlanRequest, entry: ModelEntry, plan: ServingPlan, figures: Running) -> int:
    """Return the most replicas that the plan keeps where each has the rate of the one that was read.

    With ``n`` replicas at ``u`` of what one carries, the plan keeps ``n`` while ``n * u > n - 1``; its floor always.
    """
    floor = max(plan.replicas.floor, 1)
    option = _engine_option(request, entry, plan, ReplicaBounds())
    if option is None or not figures.requests_per_s:
        return floor
    used = figures.requests_per_s / option.engine.most.requests_per_s
    kept = [count for count in range(floor, plan.replicas.ceiling + 1) if count * used > count - 1]
    return max([floor, *kept])


def _sequences(entry: ModelEntry, plan: ServingPlan, tokens: int, figures: Running) -> int | None:
    """Return the max_num_seqs that suits the measured cache; None where it may stay.

    Raised where the limit and not the cache binds and requests wait; lowered where the cache is beyond its p10.
    """
    now = plan.engine.max_num_seqs
    request = entry.workload.input_tokens + entry.workload.output_tokens
    held = max(tokens // request // SEQUENCES_STEP * SEQUENCES_STEP, SEQUENCES_STEP)
    spread = plan.memory.kv_cache_gib_interval
    low = max(spread.p10, 0.0) / spread.p50 if spread.p50 > 0 else 1.0
    if held > now and figures.waiting:
        return min(held, 2 * now)
    if tokens < plan.memory.kv_tokens * low and held < now:
        return held
    return None


def _proposed(
    sized: ModelEntry, plan: ServingPlan, findings: Sequence[Finding], figures: Running, tokens: int | None
) -> ModelEntry:
    """Return the entry with every figure that differs; objectives are tightened where the traffic is as planned."""
    by_name = {one.name: one for one in findings}
    rate, found = by_name["requests_per_second"], sized
    if rate.differs and rate.measured is not None:
        least = NONE_SEEN / figures.seconds if figures.seconds else 0.0
        wanted_rate = _rounded_up(rate.measured or least)
        found = _with_workload(found, {"requests_per_second": wanted_rate}, figures.source)
    if by_name["kv_tokens"].differs and tokens is not None:
        wanted = _sequences(found, plan, tokens, figures)
        if wanted is not None:
            found = found.model_copy(update={"engine": found.engine.model_copy(update={"max_num_seqs": wanted})})
    heavier = any(by_name[name].more for name in ("requests_per_second", "input_tokens", "output_tokens"))
    return found if heavier else _with_objectives(found, by_name)


def _rounded_up(rate: float) -> float:
    """Return ``rate`` with two digits, never less."""
    unit = 10.0 ** (math.floor(math.log10(rate)) - 1)
    return float(f"{math.ceil(rate / unit - 1e-9) * unit:.6g}")


def _with_objectives(entry: ModelEntry, findings: Mapping[str, Finding]) -> ModelEntry:
    """Return the entry with a missed objective tightened by the ratio by which it was missed."""
    values = {
        name: max(math.floor(one.planned * one.planned / one.measured), 1)
        for name in ("ttft_p95_ms", "tpot_p95_ms")
        if (one := findings[name]).differs and one.planned and one.measured
    }
    return entry if not values else entry.model_copy(update={"objectives": entry.objectives.model_copy(update=values)})


def _alone(finding: Finding, entry: ModelEntry, proposed: ModelEntry) -> ModelEntry:
    """Return ``entry`` with what ``proposed`` says for this one figure."""
    part, key = {
        "ttft_p95_ms": ("objectives", "ttft_p95_ms"),
        "tpot_p95_ms": ("objectives", "tpot_p95_ms"),
        "kv_tokens": ("engine", "max_num_seqs"),
    }.get(finding.name, ("workload", finding.name))
    ours, theirs = getattr(entry, part), getattr(proposed, part)
    if getattr(ours, key) == getattr(theirs, key):
        return entry
    return entry.model_copy(update={part: ours.model_copy(update={key: getattr(theirs, key)})})


def _effect(finding: Finding, request: PlanRequest, entry: ModelEntry, proposed: ModelEntry, plan: ServingPlan) -> str:
    """Return what this figure alone changes on the planned machines."""
    if not finding.differs:
        return finding.effect
    single = _alone(finding, entry, proposed)
    if single == entry:
        return NOTHING
    option = _engine_option(request, single, plan, entry.replicas)
    seqs = single.engine.max_num_seqs
    first = f"max_num_seqs {plan.engine.max_num_seqs} -> {seqs}, " if finding.name == "kv_tokens" else ""
    if option is None:
        return f"{first}{plan_name(plan)} does not carry it within the objectives and replicas.ceiling"
    replicas, usd_per_hour = _priced(request, single, plan, option, entry.replicas)
    changed = (usd_per_hour.expected - plan.usd_per_hour.expected) * HOURS_PER_MONTH
    return first + ", ".join([*_bounds_changes(plan.replicas, replicas), _dollars(changed)])


def _bounds_changes(ours: Replicas, theirs: Replicas) -> list[str]:
    pairs = ((name, getattr(ours, name), getattr(theirs, name)) for name in ("floor", "expected", "ceiling"))
    return [f"{name} {before} -> {after}" for name, before, after in pairs if before != after]


def _dollars(change: float) -> str:
    if abs(change) < 1:
        return "at the same cost"
    return f"{'+' if change > 0 else '-'}${abs(change):,.0f} a month"


@dataclass(frozen=True, kw_only=True)
class _Replanned:
    """The proposed entry as planned; ``plan`` is None and ``refusal`` says why where there is no plan."""

    entry: ModelEntry
    plan: ServingPlan | None
    smallest_budget_usd: float | None = None
    refusal: str = ""


def _replan(request: PlanRequest, proposed: ModelEntry, *, with_ceiling: bool = True) -> _Replanned:
    """Plan the stack with ``proposed``; raise a replicas.ceiling that is too low, report an exceeded budget."""
    entry = proposed
    if not with_ceiling:
        entry = entry.model_copy(update={"replicas": ReplicaBounds(floor=entry.replicas.floor)})
    smallest = None
    try:
        try:
            whole = plan_stack(request.with_entry(entry))
        except OverBudget:
            whole = plan_stack(request.with_entry(entry).with_budget(ANY_BUDGET_USD))
            smallest = least_budget(whole.burn_usd_per_hour.ceiling)
    except TonnageError as error:
        if with_ceiling and entry.replicas.ceiling is not None:
            return _replan(request, proposed, with_ceiling=False)
        return _Replanned(entry=proposed, plan=None, refusal=error.problem)
    plan = next(one for one in whole.models if one.name == entry.name)
    if not with_ceiling:
        stated = {} if entry.replicas.floor is None else {"floor": entry.replicas.floor}
        entry = entry.model_copy(update={"replicas": ReplicaBounds(**stated, ceiling=plan.replicas.ceiling)})
    return _Replanned(entry=entry, plan=plan, smallest_budget_usd=smallest)


def _side(plan: ServingPlan) -> Side:
    return Side(name=plan_name(plan), replicas=plan.replicas, usd_per_month=per_month(plan.usd_per_hour))


def _kept(request: PlanRequest, entry: ModelEntry, proposed: ModelEntry, plan: ServingPlan) -> tuple[Side | None, str]:
    """Return the stack as it is under the measured traffic, and why it does not carry that, if so."""
    wanted = proposed.model_copy(update={"engine": entry.engine})
    bounds = ReplicaBounds(floor=plan.replicas.floor, ceiling=max(plan.replicas.ceiling, 1))
    option = _engine_option(request, wanted, plan, bounds)
    if option is None:
        return None, f"{plan.replicas.ceiling} replicas of {plan_name(plan)}, the ceiling, do not carry the traffic"
    replicas, usd_per_hour = _priced(request, wanted, plan, option, bounds)
    side = Side(name=plan_name(plan), replicas=replicas, usd_per_month=per_month(usd_per_hour))
    unbounded = wanted.model_copy(update={"replicas": ReplicaBounds()})
    per_node = 1 if plan.shares_with else option.per_node
    free = replicas_of(unbounded, option.engine.rates, per_node, request.capacity.zones)
    if not isinstance(free, str) and free.ceiling > plan.replicas.ceiling and entry.replicas.ceiling is None:
        return side, f"a burst of peakFactor needs {free.ceiling} replicas, the ceiling is {plan.replicas.ceiling}"
    return side, ""


def _answer(
    request: PlanRequest, entry: ModelEntry, proposed: ModelEntry, plan: ServingPlan, findings: Sequence[Finding]
) -> Answer:
    """Compare the proposal with keeping the stack as it is."""
    planned = _side(plan)
    if proposed == entry:
        return Answer(change=False, entry=entry, planned=planned, kept=planned, proposed=planned)
    new = _replan(request, proposed)
    kept, short = _kept(request, entry, proposed, plan)
    reasons = [f"{one.sentence}: {one.effect}" for one in findings if one.differs and one.effect != NOTHING]
    if new.plan is None:
        reasons.append(f"no plan carries the measured workload: {new.refusal}")
        return Answer(change=True, entry=new.entry, planned=planned, kept=kept, reasons=tuple(reasons))
    side = _side(new.plan)
    before = (kept or planned).usd_per_month.expected
    saving = before - side.usd_per_month.expected
    over = new.smallest_budget_usd
    missed = any(one.differs for one in findings if one.name in {"ttft_p95_ms", "tpot_p95_ms"})
    required = bool(short) or missed or over is not None
    misplanned = abs(planned.usd_per_month.expected - side.usd_per_month.expected)
    change = required or saving >= KEEP * before > 0 or misplanned >= KEEP * planned.usd_per_month.expected
    if short:
        reasons.append(short)
    if over is not None:
        reasons.append(
            f"the budget of {request.budget.monthly_usd:,.0f} USD is exceeded: the smallest that works is {over:,.2f}"
        )
    return Answer(
        change=change, entry=new.entry if change else entry, planned=planned, kept=kept, proposed=side, saving=saving,
        smallest_budget_usd=over, reasons=tuple(reasons) if change else (),
        notes=() if change else tuple(f"{line} (below {KEEP * 100:.0f} % of the bill)" for line in reasons),
    )  # fmt: skip


def _notes(
    answer: Answer, request: PlanRequest, plan: ServingPlan, running: Running | None, assumed: int | None
) -> list[str]:
    """Return what a reader should know of the figures and of what was left as it is."""
    found = []
    if running is None:
        found.append("the log ends before any traffic: only the cache is compared")
    elif assumed is not None and plan.replicas.ceiling > 1 and running.requests_per_s is not None:
        found.append(
            f"{assumed} replicas are assumed to share the traffic, as the plan would keep; else state --replicas"
        )
    if running is not None and running.requests_per_s is not None:
        found.append(f"the rate is of {running.rate_of}; requestsPerSecond is that of the busiest hour: measure then")
    proposed = answer.entry
    if floor := proposed.replicas.floor:
        free = proposed.model_copy(update={"replicas": ReplicaBounds(ceiling=proposed.replicas.ceiling)})
        now, new = _replan(request, proposed).plan, _replan(request, free).plan
        if now is not None and new is not None and new.replicas.floor < floor:
            less = (now.usd_per_hour.floor - new.usd_per_hour.floor) * HOURS_PER_MONTH
            found.append(f"replicas.floor {floor} is stated and kept; the traffic needs {new.replicas.floor}, "
                         f"${less:,.0f} a month less in quiet hours")  # fmt: skip
    return found
