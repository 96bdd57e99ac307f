"""The plan: for each model the cheapest option that meets its objectives, for the stack one that fits the budget.

Exhaustive over ``sizing.options``: the choice is the minimum of (expected USD per hour, GPUs, ...), so it is optimal
by construction. Models of one stack share nodes where that is cheaper (``sizing.fleet_search``). With a budget, the sum
of the ceilings decides: the cheapest combination whose ceiling stays within it, else OverBudget with the smallest
budget that works. The ceilings of replicas are never lowered to make a budget hold; that is for the user to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sizing.bill import beside_usd_per_hour, bill_of, budget_plan, least_budget, shared_lines, total
from sizing.catalogue import Catalogue
from sizing.engine import engine_args
from sizing.engines import Rejected
from sizing.errors import BadInput, NoPlan, OverBudget
from sizing.fleet_search import Combination, combinations
from sizing.fleets import Fleet, fleet_names, own_fleet, shared_nodes_of
from sizing.inputs import Budget, Capacity, ModelEntry, VectorStore
from sizing.losses import lost_replicas
from sizing.memory import estimate_memory
from sizing.options import Option, Search, Supply, enumerate_options
from sizing.plan import HOURS_PER_MONTH, NodePoolPlan, ServingPlan, StackPlan, VectorStorePlan
from sizing.plan_figures import plan_figures, sharing_warning, warnings_of
from sizing.queue import Traffic, traffic_for
from sizing.quotas import purchases_of, quota_shortage
from sizing.scaling_figures import scaling_figures
from sizing.serving import drain, probes, scaling, start_up
from sizing.spot import spot_figures, spot_warnings
from sizing.throughput import estimate_of
from sizing.transfer import StackTraffic
from sizing.vector import plan_vector_store

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class PlanResult:
    """What was chosen for one model, the next best, why the others lost, and the pools of the choice."""

    chosen: ServingPlan
    alternatives: tuple[ServingPlan, ...]
    rejected: tuple[Rejected, ...]
    pools: tuple[NodePoolPlan, ...]


def plan_model(
    entry: ModelEntry,
    capacity: Capacity,
    region: str,
    catalogue: Catalogue,
    *,
    max_monthly_usd: float | None = None,
    top: int = 5,
) -> PlanResult:
    """Plan one model: the cheapest option, up to ``top`` alternatives, and why each other option lost.

    Alternatives differ in GPU, width or checkpoint, each on the machine where it is cheapest; other machines only cost
    more, and are among those that lost.
    ``max_monthly_usd`` bounds the ceiling of its bill, as ``plan_costs`` shows it. Raises BadInput, NoPlan when nothing
    meets the objectives, OverBudget when nothing that does fits the limit.
    """
    search = _search(entry, capacity, region, catalogue, keep=top + 1)
    options: Sequence[Option] = search.options
    above: tuple[Rejected, ...] = ()
    if max_monthly_usd is not None:
        beside = beside_usd_per_hour(entry, capacity.zones, region, catalogue)
        options, above = _within(search.options, beside, max_monthly_usd)
    shown = _first_of_each(options, lambda option: option.engine.name)[: top + 1]
    titles = {_title(option) for option in shown}
    rest = [option for option in _first_of_each(options, _title) if _title(option) not in titles]
    dearer = tuple(Rejected(option=_title(option), reason=_dearer(option, shown[0])) for option in rest)
    return PlanResult(
        chosen=own_plan(entry, shown[0], capacity),
        alternatives=tuple(own_plan(entry, option, capacity) for option in shown[1:]),
        rejected=(*search.rejected, *above, *dearer),
        pools=own_fleet(entry.name, shown[0]).pools(entry.name),
    )


def _within(
    options: Sequence[Option], beside_usd_per_hour: float, max_monthly_usd: float
) -> tuple[list[Option], tuple[Rejected, ...]]:
    """Return the options whose bill stays within the limit, and why the others do not; OverBudget when none does."""
    budgets = [least_budget(option.ceiling_usd_per_hour + beside_usd_per_hour) for option in options]
    within = [option for option, least in zip(options, budgets, strict=True) if least <= max_monthly_usd]
    if not within:
        raise OverBudget(
            "max-monthly-usd",
            f"{max_monthly_usd:.2f} USD is below the ceiling of every option",
            limit=f"the smallest that works is {min(budgets):.2f} USD per month",
            way_out="raise it, lower peakFactor or loosen the objectives",
        )
    named = {_title(option) for option in within}
    above: dict[str, str] = {}
    for option, least in sorted(zip(options, budgets, strict=True), key=lambda pair: pair[1]):
        if _title(option) not in named:
            above.setdefault(_title(option), f"above the limit: its ceiling needs {least:.2f} USD per month")
    return within, tuple(Rejected(option=title, reason=reason) for title, reason in above.items())


def _first_of_each(options: Sequence[Option], name: Callable[[Option], str]) -> list[Option]:
    """Return the first option of each name, in order."""
    first: dict[str, Option] = {}
    for option in options:
        first.setdefault(name(option), option)
    return list(first.values())


def _title(option: Option) -> str:
    return f"{option.engine.name} on {option.instance.instance_type}"


_MORE = ("expected cost", "GPUs", "idle replicas", "cost at the most traffic", "cost at the floor", "pipeline stages")
"""What the order of options compares, in its order; then types and names."""


def _dearer(option: Option, chosen: Option) -> str:
    ours, best = option.usd_per_hour.expected, chosen.usd_per_hour.expected
    if option.order[0] > chosen.order[0]:
        return f"dearer: {ours:.2f} USD/h expected against {best:.2f} USD/h of {_title(chosen)}"
    differs = (name for name, own, other in zip(_MORE, option.order, chosen.order, strict=False) if own != other)
    more = next(differs, "")
    but = f"more {more}" if more else "nothing better"
    return f"as dear as {_title(chosen)} ({best:.2f} USD/h expected), with {but}"


def _search(entry: ModelEntry, capacity: Capacity, region: str, catalogue: Catalogue, keep: int = 1) -> Search:
    search = enumerate_options(entry, capacity, region, catalogue, keep=keep)
    if not search.options:
        way_out = _no_plan_way_out(search, region, catalogue)
        raise NoPlan(f"models.{entry.name}", _no_plan(entry, search), way_out=way_out)
    return search


def _no_plan(entry: ModelEntry, search: Search) -> str:
    """Say what is the best that can be reached, or why nothing can be bought."""
    wanted = entry.objectives
    (ttft, ttft_by), (tpot, tpot_by) = search.reach.ttft_ms, search.reach.tpot_ms
    if search.shapes and not search.placed and math.isinf(ttft):
        return f"{entry.model} runs on no GPU that is allowed: {_last_reasons(search)}"
    if search.reach.missed and not search.placed:
        return (
            f"no option meets ttftP95Ms {wanted.ttft_p95_ms:g} and tpotP95Ms {wanted.tpot_p95_ms:g}; best reachable "
            f"is TTFT p95 {math.ceil(ttft)} ms on {ttft_by} and TPOT p95 {tpot:.1f} ms on {tpot_by}"
        )
    return f"no option is left: {_last_reasons(search)}"


def _no_plan_way_out(search: Search, region: str, catalogue: Catalogue) -> str:
    scarce = "lower capacity.zones, " if any(one.reason.startswith("sold in") for one in search.rejected) else ""
    if not search.shapes:
        sold = [gpu.name for gpu in catalogue.gpus if catalogue.instances(gpu.name, region)]
        return f"{scarce}allow GPUs that {region} sells: {', '.join(sorted(sold))}"
    if any(" of quota L-" in one.reason for one in search.rejected):
        return "ask for more in Service Quotas, allow GPUs of another family, lower requestsPerSecond or spotShare"
    if search.placed:
        return "lower requestsPerSecond or capacity.zones, allow more GPUs, or raise replicas.ceiling"
    if search.reach.missed:
        return f"loosen the objectives, {scarce}allow more GPUs or choose a smaller model"
    return f"{scarce}allow more GPUs"


_TELLING = ("needs", "sold in", "pods of", "misses", "does not fit", "", "no machine", "not sold")
"""Beginnings of reasons, the most telling first; nothing stands for any other."""


def _last_reasons(search: Search) -> str:
    def rank(one: Rejected) -> tuple[bool, int]:
        found = [place for place, start in enumerate(_TELLING) if start and one.reason.startswith(start)]
        return " of quota L-" not in one.reason, found[0] if found else _TELLING.index("")

    told = sorted(search.rejected, key=rank)[:3]
    return "; ".join(f"{one.option}: {one.reason}" for one in told) or "no GPU is allowed"


def _traffic(entry: ModelEntry, option: Option) -> Traffic:
    rate = entry.workload.prompt_requests_per_second / (option.replicas.expected - option.replicas.batch)
    return traffic_for(option.engine.replica, entry.workload, rate, option.engine.most)


def own_plan(entry: ModelEntry, option: Option, capacity: Capacity) -> ServingPlan:
    """Return everything decided for one model on nodes of its own."""
    fleet = own_fleet(entry.name, option)
    return serving_plan(entry, fleet, fleet.pools(entry.name), capacity)


def serving_plan(entry: ModelEntry, fleet: Fleet, pools: tuple[NodePoolPlan, ...], capacity: Capacity) -> ServingPlan:
    """Return everything decided for one model on its fleet, whose pools are ``pools``."""
    option = fleet.option(entry.name)
    engine, settings = option.engine, option.engine.settings
    traffic = _traffic(entry, option)
    start, zones = start_up(engine.model, settings, option.instance, engine.weights_bytes), len(option.zones)
    spare = lost_replicas(option.replicas.expected, option.per_node, entry.loss_tolerance, zones)
    spot = any(pool.capacity_type == "spot" for pool in pools)
    each, least = engine.rates.arrivals(entry.workload), max(option.replicas.floor, 1)
    thresholds = scaling(settings, entry, start, each=each, relief=engine.rates.relief, least=least, spare=spare)
    budgets = probes(start)
    leave = drain(entry.workload, traffic.tpot_p95_ms, spot=spot)
    output_rate = entry.workload.mean_requests_per_second * entry.workload.output_tokens * SECONDS_PER_HOUR / 1e6
    return ServingPlan(
        name=entry.name,
        model=engine.model.name,
        revision=entry.revision or engine.model.revision,
        gpu=engine.gpu.name,
        instance_type=option.instance.instance_type,
        instances_per_replica=1,
        replicas_per_instance=option.per_node,
        tensor_parallel=settings.tensor_parallel,
        pipeline_parallel=settings.pipeline_parallel,
        engine=settings,
        engine_args=engine_args(engine.model, settings),
        memory=estimate_memory(engine.model, engine.gpu, settings),
        throughput=estimate_of(
            engine.replica, traffic.loop, concurrency=traffic.concurrency, output_tokens=entry.workload.output_tokens
        ),
        replicas=option.replicas,
        scale_to_zero=entry.scale_to_zero,
        loss_tolerance=entry.loss_tolerance,
        start_up=start,
        probes=budgets,
        drain=leave,
        scaling=thresholds,
        resources=engine.pod,
        surge=fleet.surge,
        pools=tuple(pool.name for pool in pools),
        usd_per_hour=option.usd_per_hour,
        usd_per_million_output_tokens=option.usd_per_hour.expected / output_rate,
        weights_bytes=engine.weights_bytes,
        meets=traffic.meets(entry.objectives),
        figures=(
            *plan_figures(entry, fleet, traffic, capacity),
            *scaling_figures(entry, option, start, thresholds, budgets),
            *spot_figures(pools, option.replicas, option.per_node, start, part=fleet.part(entry.name)),
        ),
        shares_with=fleet.beside(entry.name),
    )


@dataclass(frozen=True, kw_only=True)
class _Request:
    """What a stack asks for."""

    stack: str
    models: tuple[ModelEntry, ...]
    capacity: Capacity
    budget: Budget
    region: str
    catalogue: Catalogue
    vector_store: VectorStore | None
    internet_facing: bool = False

    def combinations(self, most_ceiling_usd_per_hour: float) -> list[Combination]:
        """Return what to try, cheapest expected first; the last has the least ceiling."""
        searches = [_search(entry, self.capacity, self.region, self.catalogue) for entry in self.models]
        supply = Supply(capacity=self.capacity, region=self.region, catalogue=self.catalogue)
        return combinations(self.models, searches, supply, most_ceiling_usd_per_hour)

    @property
    def store(self) -> VectorStorePlan | None:
        return None if self.vector_store is None else plan_vector_store(self.vector_store)

    @property
    def traffic(self) -> StackTraffic:
        """What the stack carries."""
        return StackTraffic(entries=self.models, zones=self.capacity.zones, internet_facing=self.internet_facing)

    @property
    def most_ceiling_usd_per_hour(self) -> float:
        """What the budget leaves for the ceilings of the models."""
        shared = total(shared_lines(self.store, self.region, self.catalogue, self.traffic)).ceiling
        return self.budget.monthly_usd / HOURS_PER_MONTH - shared


def plan_stack(  # noqa: PLR0917 (the contract of the core)
    stack: str,
    models: Sequence[ModelEntry],
    capacity: Capacity,
    budget: Budget,
    region: str,
    catalogue: Catalogue,
    vector_store: VectorStore | None = None,
    *,
    internet_facing: bool = False,
) -> StackPlan:
    """Plan a whole serving stack within its budget; ``internet_facing`` adds transfer out to the bill.

    Raises BadInput, NoPlan when a model cannot meet its objectives, OverBudget when the ceilings do not fit.
    """
    _check_names(models)
    request = _Request(
        stack=stack,
        models=tuple(models),
        capacity=capacity,
        budget=budget,
        region=region,
        catalogue=catalogue,
        vector_store=vector_store,
        internet_facing=internet_facing,
    )
    short = ""
    for combination in request.combinations(request.most_ceiling_usd_per_hour):
        plan = _assemble(request, combination)
        if least_budget(plan.burn_usd_per_hour.ceiling) <= budget.monthly_usd:
            lacking = quota_shortage(capacity, purchases_of(plan.pools), catalogue)
            if not lacking:
                return plan
            short = short or lacking
    if short:  # each model fits the stated quotas, all together do not
        way_out = "ask for more in Service Quotas, allow GPUs of another family, or lower replicas.ceiling"
        raise NoPlan("capacity.quotas", f"the models together: {short}", way_out=way_out)
    raise _over_budget(request, plan)


def _check_names(models: Sequence[ModelEntry]) -> None:
    if not models:
        raise BadInput("models", "no model is stated", way_out="add at least one entry under tonnage:models")
    names = [entry.name for entry in models]
    for name in sorted(set(names)):
        if names.count(name) > 1:
            raise BadInput("models", f"two models are called {name!r}", way_out="give each entry its own name")


def _assemble(request: _Request, combination: Combination) -> StackPlan:
    capacity, region, budget = request.capacity, request.region, request.budget
    plans: list[ServingPlan] = []
    pools: dict[str, NodePoolPlan] = {}
    names = fleet_names(combination.fleets)
    for entry in request.models:
        fleet = combination.fleet(entry.name)
        own = fleet.pools(names[fleet.models])
        plans.append(serving_plan(entry, fleet, own, capacity))
        pools |= {pool.name: pool for pool in own}
    store = request.store
    bill = bill_of(plans, tuple(pools.values()), store, region, request.catalogue, traffic=request.traffic)
    burn = total(bill)
    warnings = [text for entry, plan in zip(request.models, plans, strict=True) for text in warnings_of(entry, plan)]
    shared = shared_nodes_of(combination.fleets)
    warnings += [sharing_warning(one) for one in shared]
    warnings += [text for plan in plans for text in spot_warnings(plan, tuple(pools.values()))]
    return StackPlan(
        stack=request.stack,
        region=region,
        models=tuple(plans),
        pools=tuple(pools.values()),
        vector_store=store,
        bill=bill,
        burn_usd_per_hour=burn,
        budget=budget_plan(budget.monthly_usd, budget.on_exceed, budget.notify, burn, tuple(pools.values())),
        catalogue_date=request.catalogue.date,
        warnings=tuple(warnings),
        shared=shared,
    )


def _over_budget(request: _Request, leanest: StackPlan) -> OverBudget:
    smallest = least_budget(leanest.burn_usd_per_hour.ceiling)
    largest = max(leanest.models, key=lambda plan: (plan.usd_per_hour.ceiling, plan.name))
    way_out = f"raise it, or lower peakFactor, requestsPerSecond or replicas.ceiling of {largest.name}"
    calm = replace(request, models=tuple(_without_peak(entry) for entry in request.models))
    least = least_budget(_assemble(calm, calm.combinations(0.0)[-1]).burn_usd_per_hour.ceiling)
    if least < smallest:
        way_out += f" (peakFactor 1 needs {least:.2f} USD)"
    return OverBudget(
        "budget.monthlyUsd",
        f"{request.budget.monthly_usd:.2f} USD is below the ceiling of the bill",
        limit=f"the smallest budget that works is {smallest:.2f} USD per month",
        way_out=way_out,
    )


def _without_peak(entry: ModelEntry) -> ModelEntry:
    return entry.model_copy(update={"workload": entry.workload.model_copy(update={"peak_factor": 1.0})})
