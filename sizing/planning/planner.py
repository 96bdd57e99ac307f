"""The plan: for each model the cheapest option that meets its objectives, for the stack one that fits the budget.

Exhaustive over ``sizing.planning.search.enumeration``: the choice is the minimum of (expected USD per hour, GPUs, ...),
so it is optimal by construction. Models of one stack share nodes where that is cheaper
(``sizing.planning.sharing.fleet_search``). The plan is the cheapest combination whose ceilings add up to no more than
the budget, else OverBudget names the smallest budget that works. Replica ceilings are never lowered to fit a budget:
only the user may do that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sizing.cost.bill import bill_of, fixed_usd_per_hour, shared_lines, total
from sizing.cost.budget import budget_plan, least_budget
from sizing.cost.spot_interruptions import spot_warnings
from sizing.errors import BadInput, NoPlan, OverBudget
from sizing.inputs import Capacity, ModelEntry
from sizing.nodes.floor_updates import floor_update_warnings
from sizing.nodes.lifecycle import with_lifetimes
from sizing.nodes.pools import gpu_quota
from sizing.nodes.quotas import purchases_of, quota_shortage
from sizing.plan import NodePoolPlan, ServingPlan, StackPlan
from sizing.planning.explanation import sharing_warning, warnings_of
from sizing.planning.operation_figures import stack_figures
from sizing.planning.refusals import no_plan, no_plan_way_out, option_title, why_more_expensive
from sizing.planning.request import PlanRequest
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market, Option, Search
from sizing.planning.search.parallel_configs import Rejected
from sizing.planning.serving_plan import own_plan, serving_plan
from sizing.planning.sharing.fleet_search import Combination, combinations
from sizing.planning.sharing.fleets import fleet_names, own_fleet, shared_nodes_of
from sizing.serving.gateway import gateway_plan
from sizing.serving.lifecycle import check_interrupted_share
from sizing.units import HOURS_PER_MONTH


@dataclass(frozen=True, kw_only=True)
class PlanResult:
    """The plan of one model, the next best, why the others were rejected, and the node pools of the plan."""

    chosen: ServingPlan
    alternatives: tuple[ServingPlan, ...]
    rejected: tuple[Rejected, ...]
    pools: tuple[NodePoolPlan, ...]


def plan_model(
    entry: ModelEntry,
    market: Market,
    *,
    max_monthly_usd: float | None = None,
    top: int = 5,
) -> PlanResult:
    """Plan one model: the cheapest option, up to ``top`` alternatives, and why the others were rejected.

    Alternatives differ in GPU, parallel sizes or checkpoint, each on its cheapest instance type; the same engines on
    other types are among the rejected.
    ``max_monthly_usd`` limits the ceiling of the bill. Raises BadInput, NoPlan when nothing meets the objectives,
    OverBudget when nothing that does fits the limit.
    """
    search = _search(entry, market, keep=top + 1)
    options, rejected = search.options, tuple(search.rejected)
    if max_monthly_usd is not None:
        fixed = fixed_usd_per_hour(entry, market.capacity.zones, market.region, market.catalogue)
        options, above = _within(options, fixed, max_monthly_usd)
        rejected += above
    return _result(entry, market.capacity, options, rejected, top)


def _result(
    entry: ModelEntry, capacity: Capacity, options: Sequence[Option], rejected: tuple[Rejected, ...], top: int
) -> PlanResult:
    """Return plans of the first of ``options`` and of the next ``top``, and why all others were rejected."""
    shown = _first_of_each(options, lambda option: option.engine.name)[: top + 1]
    titles = {option_title(option) for option in shown}
    rest = [option for option in _first_of_each(options, option_title) if option_title(option) not in titles]
    more_expensive = tuple(
        Rejected(option=option_title(option), kind="more-expensive", reason=why_more_expensive(option, shown[0]))
        for option in rest
    )
    chosen = own_plan(entry, shown[0], capacity)
    pools = own_fleet(entry.name, shown[0]).pools(entry.name)
    _check_spot(chosen, pools, capacity)
    return PlanResult(
        chosen=chosen,
        alternatives=tuple(own_plan(entry, option, capacity) for option in shown[1:]),
        rejected=(*rejected, *more_expensive),
        pools=with_lifetimes(pools, (chosen,)),
    )


def _within(
    options: Sequence[Option], fixed: float, max_monthly_usd: float
) -> tuple[list[Option], tuple[Rejected, ...]]:
    """Return the options whose ceiling is within the limit and rejections of the others; OverBudget when none is."""
    budgets = [least_budget(option.ceiling_usd_per_hour + fixed) for option in options]
    within = [option for option, least in zip(options, budgets, strict=True) if least <= max_monthly_usd]
    if not within:
        raise OverBudget(
            "max-monthly-usd",
            f"{max_monthly_usd:.2f} USD is below the ceiling of every option",
            limit=f"the smallest that works is {min(budgets):.2f} USD per month",
            way_out="raise it, lower peakFactor or loosen the objectives",
        )
    named = {option_title(option) for option in within}
    above: dict[str, str] = {}
    for option, least in sorted(zip(options, budgets, strict=True), key=lambda pair: pair[1]):
        if option_title(option) not in named:
            above.setdefault(option_title(option), f"above the limit: its ceiling needs {least:.2f} USD per month")
    return within, tuple(Rejected(option=title, kind="above-limit", reason=reason) for title, reason in above.items())


def _first_of_each(options: Sequence[Option], name: Callable[[Option], str]) -> list[Option]:
    """Return the first option of each name, in order."""
    first: dict[str, Option] = {}
    for option in options:
        first.setdefault(name(option), option)
    return list(first.values())


def _search(entry: ModelEntry, market: Market, keep: int) -> Search:
    search = enumerate_options(entry, market, keep=keep)
    if not search.options:
        way_out = no_plan_way_out(search, market.region, market.catalogue)
        raise NoPlan(f"models.{entry.name}", no_plan(entry, search), way_out=way_out)
    return search


@dataclass(frozen=True, kw_only=True)
class PlannedStack:
    """A plan and the search of each model that it was chosen from."""

    request: PlanRequest
    plan: StackPlan
    searches: tuple[Search, ...]
    top: int

    @cached_property
    def alone(self) -> Mapping[str, PlanResult]:
        """By model, its plan on nodes of its own and up to ``top`` alternatives, without regard to the budget."""
        pairs = zip(self.request.models, self.searches, strict=True)
        capacity, top = self.request.capacity, self.top
        return {
            entry.name: _result(entry, capacity, search.options, tuple(search.rejected), top) for entry, search in pairs
        }


def plan_stack(request: PlanRequest) -> StackPlan:
    """Plan a whole serving stack within its budget.

    Raises BadInput, NoPlan when a model cannot meet its objectives, OverBudget when the ceilings do not fit.
    """
    return planned_stack(request).plan


def planned_stack(request: PlanRequest, top: int = 0) -> PlannedStack:
    """Plan a stack as ``plan_stack`` does and keep the searches, with ``top`` alternatives of each model.

    The plan does not depend on ``top``.
    """
    _check_names(request.models)
    searches = _searches(request, keep=top + 1)
    tried = combinations(request.models, searches, request.market, _most_ceiling_usd_per_hour(request))
    short = ""
    for combination in tried:
        plan = _assemble(request, combination)
        if least_budget(plan.burn_usd_per_hour.ceiling) <= request.budget.monthly_usd:
            lacking = quota_shortage(request.capacity, purchases_of(plan.pools), request.catalogue)
            if not lacking:
                return PlannedStack(request=request, plan=plan, searches=searches, top=top)
            short = short or lacking
    if short:  # each model fits the declared quotas, all together do not
        way_out = "ask for more in Service Quotas, allow GPUs of another family, or lower replicas.ceiling"
        raise NoPlan("capacity.quotas", f"the models together: {short}", way_out=way_out)
    raise _over_budget(request, _assemble(request, tried[-1]))


def _searches(request: PlanRequest, keep: int = 1) -> tuple[Search, ...]:
    return tuple(_search(entry, request.market, keep) for entry in request.models)


def _most_ceiling_usd_per_hour(request: PlanRequest) -> float:
    """Return what the budget leaves for the ceilings of the models: monthly USD / 730 - ceiling of shared lines."""
    shared = total(shared_lines(request.store, request.region, request.catalogue, request.traffic)).ceiling
    return request.budget.monthly_usd / HOURS_PER_MONTH - shared


def _check_names(models: Sequence[ModelEntry]) -> None:
    if not models:
        raise BadInput("models", "no model is stated", way_out="add at least one entry under tonnage:models")
    names = [entry.name for entry in models]
    for name in sorted(set(names)):
        if names.count(name) > 1:
            raise BadInput("models", f"two models are called {name!r}", way_out="give each entry its own name")


def _assemble(request: PlanRequest, combination: Combination) -> StackPlan:
    capacity, region, budget = request.capacity, request.region, request.budget
    plans: list[ServingPlan] = []
    bought: dict[str, NodePoolPlan] = {}
    names = fleet_names(combination.fleets)
    for entry in request.models:
        fleet = combination.fleet(entry.name)
        own = fleet.pools(names[fleet.models])
        plans.append(serving_plan(entry, fleet, own, capacity))
        bought |= {pool.name: pool for pool in own}
    pools = with_lifetimes(bought.values(), plans)
    for plan in plans:
        _check_spot(plan, pools, capacity)
    gateway, quota = gateway_plan(plans, proxies=request.gateway_proxies), gpu_quota(pools)
    store = request.store
    bill = bill_of(plans, pools, store, region, request.catalogue, traffic=request.traffic)
    burn = total(bill)
    warnings = [text for entry, plan in zip(request.models, plans, strict=True) for text in warnings_of(entry, plan)]
    shared = shared_nodes_of(combination.fleets)
    warnings += [sharing_warning(one) for one in shared]
    warnings += [text for plan in plans for text in spot_warnings(plan, pools)]
    warnings += floor_update_warnings(pools)
    return StackPlan(
        stack=request.stack,
        region=region,
        models=tuple(plans),
        pools=pools,
        vector_store=store,
        bill=bill,
        burn_usd_per_hour=burn,
        budget=budget_plan(budget.monthly_usd, budget.on_exceed, budget.notify, burn, pools),
        catalogue_date=request.catalogue.date,
        warnings=tuple(warnings),
        gateway=gateway,
        gpu_quota=quota,
        shared=shared,
        figures=stack_figures(gateway, plans, pools, quota),
    )


def _check_spot(plan: ServingPlan, pools: Sequence[NodePoolPlan], capacity: Capacity) -> None:
    if any(pool.name in plan.pools and pool.capacity_type == "spot" for pool in pools):
        check_interrupted_share(plan, capacity.interrupted_share)


def _over_budget(request: PlanRequest, lowest_ceiling: StackPlan) -> OverBudget:
    smallest = least_budget(lowest_ceiling.burn_usd_per_hour.ceiling)
    largest = max(lowest_ceiling.models, key=lambda plan: (plan.usd_per_hour.ceiling, plan.name))
    way_out = f"raise it, or lower peakFactor, requestsPerSecond or replicas.ceiling of {largest.name}"
    flat = replace(request, models=tuple(_without_peak(entry) for entry in request.models))
    flat_lowest = combinations(flat.models, _searches(flat), flat.market, 0.0)[-1]
    least = least_budget(_assemble(flat, flat_lowest).burn_usd_per_hour.ceiling)
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
