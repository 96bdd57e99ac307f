"""Which models may gain from shared nodes, and how they would run there: the bounds of
``sizing.planning.sharing.fleet_search``.

Pods of ``g`` GPUs on nodes of ``G`` take at least ``g / G`` of a node each. So a candidate's part of a shared fleet
costs at least that share of its floor at the on-demand price and of what is above it at the spot price, and of the
ceiling at least that share on demand: nodes of all candidates together are never fewer than the sum of these shares,
and a node more never costs less. A shared fleet is worth having when it costs less than the cheapest own options of its
models together; so a candidate can only be in one if what it could save at most (its own cost less its least part),
with what ``NEIGHBOURS - 1`` others could save at most on the same instance type, is above nothing.

Models that are to survive a loss keep their own nodes: what a loss takes is counted on those.

Pods that fill a node are no candidates. Each takes a whole node wherever it runs, so with it a shared fleet has as many
nodes, no more of them on spot (the spot share of two sums rounded up apart is never less than together), and costs
no less than both apart.

The bound is taken first at the rate that the search of own options left (the real one, one that no settings exceed, or
as if one replica carried all traffic), then at a rate that no settings exceed. What is left is tried together: only
what is part of a set whose nodes, whole and together, cost less than apart at those rates is built.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sizing.catalogue import Instance
from sizing.cost.bill import model_fixed_usd_per_hour
from sizing.errors import BadInput
from sizing.inputs import ModelEntry
from sizing.nodes.pools import fleet_usd_per_hour, split_nodes
from sizing.nodes.shared_nodes import SharedDemand, shared_nodes
from sizing.plan import Replicas
from sizing.planning.search.engines import BestLatency, Engine, build_engine, first_settings, ideal_rates, memory_of
from sizing.planning.search.enumeration import needed_replicas, place
from sizing.planning.search.options import Market, Option, Search
from sizing.planning.search.parallel_configs import ParallelConfig, Rejected  # fmt: skip
from sizing.planning.search.rates import Rates
from sizing.planning.search.replicas import replicas_of
from sizing.planning.sharing.fleets import LEAST_SAVING, SharedCandidate

NEIGHBOURS = 4
"""Models among which every partition is tried."""

Guests = Mapping[str, Mapping[str, Sequence[SharedCandidate]]]
"""Guests by model and instance type."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of the stack with its own options, cheapest first."""

    entry: ModelEntry
    search: Search

    @property
    def name(self) -> str:
        """Name of the service."""
        return self.entry.name

    @property
    def best(self) -> Option:
        """Its cheapest own option."""
        return self.search.options[0]


@dataclass(frozen=True, kw_only=True)
class _PossibleCandidate:
    """A way to run a model on shared nodes of one type, and what it could save at most: expected, at the ceiling."""

    model: Model
    instance: Instance
    config: ParallelConfig
    demand: SharedDemand
    savings: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """Models among which every partition is tried, and as what each may run on shared nodes."""

    models: tuple[Model, ...]
    candidates: Guests


def neighbourhoods(models: Sequence[Model], market: Market, *, for_ceiling: bool) -> list[Neighbourhood]:
    """Cut the models into groups with the candidates that may be in a shared fleet which is cheaper than own nodes, or
    ``for_ceiling`` has a lower ceiling. A small stack is one group.
    """
    found: list[_PossibleCandidate] = []
    if len(models) > 1 and market.capacity.share_pools:
        found = _worth([one for model in models for one in _sketched(model, market)], for_ceiling=for_ceiling)
        found = _worth([new for one in found for new in _rated(one, market)], for_ceiling=for_ceiling)
    made = []
    for group in _groups(models, found):
        names = {model.name for model in group}
        mine = _together([one for one in found if one.model.name in names], market, for_ceiling=for_ceiling)
        candidates = {model.name: _built(model, [one for one in mine if one.model is model], market) for model in group}
        made.append(Neighbourhood(models=tuple(group), candidates=candidates))
    return made


def _groups(models: Sequence[Model], possible: Sequence[_PossibleCandidate]) -> list[list[Model]]:
    """Cut the models by where they could save most, ``NEIGHBOURS`` at a time; those that save nothing are alone."""
    if len(models) <= NEIGHBOURS:
        return [list(models)]
    best: dict[str, tuple[str, float]] = {}
    for one in sorted(possible, key=lambda one: (-one.savings[0], one.instance.instance_type)):
        best.setdefault(one.model.name, (one.instance.instance_type, -one.savings[0]))
    alone = [[model] for model in models if model.name not in best]
    rest = sorted((model for model in models if model.name in best), key=lambda model: (best[model.name], model.name))
    return [*alone, *(rest[start : start + NEIGHBOURS] for start in range(0, len(rest), NEIGHBOURS))]


def _savings(model: Model, instance: Instance, demand: SharedDemand, market: Market) -> tuple[float, float]:
    own, replicas, part = model.best, demand.replicas, demand.gpus / instance.gpus
    offer = instance.offer(market.region)
    on_demand = offer.on_demand_usd_per_hour
    above = offer.usd_per_hour("spot" if market.capacity.spot_share else "on-demand")
    expected = replicas.floor * on_demand + (replicas.mean - replicas.floor) * above
    return (
        own.usd_per_hour.expected - part * expected,
        own.ceiling_usd_per_hour - part * replicas.ceiling * on_demand,
    )


def _worth(possible: Sequence[_PossibleCandidate], *, for_ceiling: bool) -> list[_PossibleCandidate]:
    """Keep what could save something together with others on the same instance type."""
    kinds = (0, 1) if for_ceiling else (0,)
    most = [_largest_savings(possible, kind) for kind in kinds]

    def worth(one: _PossibleCandidate) -> bool:
        for kind, largest in zip(kinds, most, strict=True):
            beside = [saving for name, saving in largest[one.instance.instance_type] if name != one.model.name]
            if beside and one.savings[kind] + sum(beside[: NEIGHBOURS - 1]) > LEAST_SAVING:
                return True
        return False

    return [one for one in possible if worth(one)]


def _largest_savings(possible: Sequence[_PossibleCandidate], kind: int) -> dict[str, list[tuple[str, float]]]:
    """Return by instance type the models that could save most of one kind, largest first, none below nothing."""
    most: dict[str, dict[str, float]] = {}
    for one in possible:
        room = most.setdefault(one.instance.instance_type, {})
        room[one.model.name] = max(room.get(one.model.name, 0.0), one.savings[kind])
    return {
        name: sorted(room.items(), key=lambda item: (-item[1], item[0]))[:NEIGHBOURS] for name, room in most.items()
    }


def _sketched(model: Model, market: Market) -> Iterator[_PossibleCandidate]:
    """Yield each config on each machine that it does not fill, at the rate that is known of it, or with one replica.

    None of a model that tolerates a loss: which of its replicas go with a node would hang on the other models.
    """
    if model.entry.loss_tolerance != "none":
        return
    rates = model.search.rates
    for config in model.search.configs:
        demand = _demand(config, rates.get(config.key, Rates(math.inf)), market)
        if demand is None:
            continue
        for instance in model.search.machines[config.gpu.name]:
            if config.gpus < instance.gpus and instance.gpus % config.gpus == 0:
                savings = _savings(model, instance, demand, market)
                yield _PossibleCandidate(model=model, instance=instance, config=config, demand=demand, savings=savings)


def _rated(one: _PossibleCandidate, market: Market) -> Iterator[_PossibleCandidate]:
    """Yield the possible candidate at a rate that its config does not exceed; nothing where that cannot serve."""
    config, rates = one.config, one.model.search.rates
    if config.key not in rates:
        rates[config.key] = _most_rates(config)
    demand = _demand(config, rates[config.key], market)
    if demand is not None:
        yield replace(one, demand=demand, savings=_savings(one.model, one.instance, demand, market))


def _demand(config: ParallelConfig, rates: Rates, market: Market) -> SharedDemand | None:
    """Return the least that the parallel configuration needs where a replica carries no more than ``rates``; None where
    it cannot.
    """
    replicas = replicas_of(config.entry, rates, 1, market.capacity.zones) if rates.within else ""
    return None if isinstance(replicas, str) else SharedDemand(gpus=config.gpus, replicas=replicas)


def _most_rates(config: ParallelConfig) -> Rates:
    """Return rates that the parallel configuration does not exceed; 0 where its weights alone are more than the GPUs
    may hold.
    """
    try:
        settings = first_settings(config)
        memory = memory_of(config.model, config.gpu, settings)
        return ideal_rates(config, settings) if memory.weights_gib < memory.requested_gib else Rates(0.0)
    except BadInput:
        return Rates(0.0)


def _together(possible: Sequence[_PossibleCandidate], market: Market, *, for_ceiling: bool) -> list[_PossibleCandidate]:
    """Keep what is part of a set on one instance type that costs less than apart, were the rates real."""
    kept: set[tuple[str, str, int]] = set()
    for kind in sorted({one.instance.instance_type for one in possible}):
        least: dict[str, dict[int, _PossibleCandidate]] = {}
        for one in possible:
            if one.instance.instance_type == kind:
                parallel_sizes = least.setdefault(one.model.name, {})
                parallel_sizes[one.demand.gpus] = _least(parallel_sizes.get(one.demand.gpus, one), one)
        for size in range(2, len(least) + 1):
            for several in itertools.combinations(least.values(), size):
                for chosen in itertools.product(*(parallel_sizes.values() for parallel_sizes in several)):
                    names = {(one.model.name, kind, one.demand.gpus) for one in chosen}
                    if not names <= kept and _saves(chosen, market, for_ceiling=for_ceiling):
                        kept |= names
    return [one for one in possible if (one.model.name, one.instance.instance_type, one.demand.gpus) in kept]


def _least(one: _PossibleCandidate, other: _PossibleCandidate) -> _PossibleCandidate:
    """Return a possible candidate that needs no more than either."""
    a, b = one.demand.replicas, other.demand.replicas
    replicas = Replicas(
        floor=min(a.floor, b.floor), expected=min(a.expected, b.expected), ceiling=min(a.ceiling, b.ceiling),
        by_hour=tuple(map(min, a.by_hour, b.by_hour)),
    )  # fmt: skip
    return replace(one, demand=replace(one.demand, replicas=replicas))


def _saves(chosen: Sequence[_PossibleCandidate], market: Market, *, for_ceiling: bool) -> bool:
    """Tell whether the nodes of ``chosen`` together may cost less than the cheapest own options of their models."""
    instance, own = chosen[0].instance, [one.model.best for one in chosen]
    sums = [sum(one.savings[kind] for one in chosen) > LEAST_SAVING for kind in (0, 1)]
    if not (sums[0] or (for_ceiling and sums[1])):
        return False
    nodes = shared_nodes([one.demand for one in chosen], instance.gpus)
    split = split_nodes(nodes, 1, market.capacity.spot_share)
    cost = fleet_usd_per_hour(split, (instance.offer(market.region),))
    cheaper = cost.expected < sum(option.usd_per_hour.expected for option in own) - LEAST_SAVING
    leaner = cost.ceiling < sum(option.ceiling_usd_per_hour for option in own) - LEAST_SAVING
    return cheaper or (for_ceiling and leaner)


def _built(model: Model, possible: Sequence[_PossibleCandidate], market: Market) -> dict[str, list[SharedCandidate]]:
    """Return by instance type the candidates of ``possible`` whose engine exists and can be placed."""
    built = {option.engine.key: option.engine for option in model.search.options}
    found: dict[str, list[SharedCandidate]] = {}
    for config in {one.config.key: one.config for one in possible}.values():
        engine = built.get(config.key) or build_engine(config, BestLatency())
        wanted = {one.instance.instance_type for one in possible if one.config is config}
        placed = [] if isinstance(engine, Rejected) else _placed(model, engine, market)
        for option in placed:
            if option.instance.instance_type in wanted:
                found.setdefault(option.instance.instance_type, []).append(_candidate(model.entry, option, market))
    return {kind: _undominated(candidates) for kind, candidates in found.items()}


def _placed(model: Model, engine: Engine, market: Market) -> list[Option]:
    """Return one option for each instance type: that with most types in its offers."""
    options, _ = place(model.entry, engine, market, model.search.machines[engine.gpu.name])
    found: dict[str, Option] = {}
    for option in options:
        found.setdefault(option.instance.instance_type, option)
    return list(found.values())


def _candidate(entry: ModelEntry, option: Option, market: Market) -> SharedCandidate:
    replicas = needed_replicas(entry, option)
    fixed = model_fixed_usd_per_hour(option.engine.weights_bytes, replicas.ceiling, market.region, market.catalogue)
    return SharedCandidate(
        model=entry.name,
        option=option,
        demand=SharedDemand(gpus=option.engine.pod.gpus, replicas=replicas),
        fixed_usd_per_hour=fixed,
    )


def _undominated(candidates: Sequence[SharedCandidate]) -> list[SharedCandidate]:
    """Leave out candidates as wide as another that needs no more of anything."""

    def needs(one: SharedCandidate) -> tuple[float, ...]:
        counts = one.demand.replicas
        return (
            counts.floor,
            counts.expected,
            counts.ceiling,
            *counts.by_hour,
            one.option.engine.pod.ephemeral_gib,
            one.fixed_usd_per_hour,
        )

    kept: list[SharedCandidate] = []
    for one in sorted(candidates, key=lambda candidate: (needs(candidate), candidate.option.engine.name)):
        rivals = [other for other in kept if other.demand.gpus == one.demand.gpus]
        if not any(all(a <= b for a, b in zip(needs(other), needs(one), strict=True)) for other in rivals):
            kept.append(one)
    return kept
