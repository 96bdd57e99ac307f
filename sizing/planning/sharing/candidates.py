"""Which models may gain from shared nodes, and how they would run there: the bounds of
``sizing.planning.sharing.fleet_search``.

    least expected = g / G x (floor x on demand + (mean - floor) x spot)    of one candidate's part, USD per hour
    least ceiling  = g / G x ceiling x on demand
    most saving    = cost of the model's cheapest own option - least cost   expected, or at the ceiling
    kept           = most saving + the NEIGHBOURS - 1 largest of other models on its instance type > LEAST_SAVING

``g``: GPUs of a pod; ``G``: GPUs of a node; floor, mean and ceiling are replicas; spot is the on-demand price without a
spot share. The bound is exact: shared nodes are never fewer than the sum of these shares of a node, and a shared pool
is only used where it costs less than the cheapest own options of its models together.

No candidates: models with a failure tolerance, which is counted on nodes of their own, and pods that fill a node. Such
a pod takes a whole node anywhere, and the number of spot nodes is rounded up, so sharing gives as many nodes and no
more of them on spot.

The bound is first taken at the rates that the search of own options left (the real rate, the ideal one, or one replica
for all traffic), then at ideal rates, which no settings exceed. Engines are built only for candidates in a set whose
whole shared nodes cost less than own nodes at those rates.
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

Candidates = Mapping[str, Mapping[str, Sequence[SharedCandidate]]]
"""Candidates by model and instance type."""


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
    """A parallel configuration on shared nodes of one type, and the most it could save: expected, at the ceiling."""

    model: Model
    instance: Instance
    config: ParallelConfig
    demand: SharedDemand
    savings: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """Models among which every partition is tried, and the candidates of each."""

    models: tuple[Model, ...]
    candidates: Candidates


def neighbourhoods(models: Sequence[Model], market: Market, *, for_ceiling: bool) -> list[Neighbourhood]:
    """Split the models into groups, with the candidates that may make a shared pool cheaper than own nodes.

    ``for_ceiling``: or lower its ceiling. Up to ``NEIGHBOURS`` models are one group.
    """
    found: list[_PossibleCandidate] = []
    if len(models) > 1 and market.capacity.share_pools:
        found = _could_save(
            [one for model in models for one in _at_known_rates(model, market)], for_ceiling=for_ceiling
        )
        found = _could_save([new for one in found for new in _at_ideal_rates(one, market)], for_ceiling=for_ceiling)
    made = []
    for group in _groups(models, found):
        names = {model.name for model in group}
        mine = _in_cheaper_sets([one for one in found if one.model.name in names], market, for_ceiling=for_ceiling)
        candidates = {model.name: _built(model, [one for one in mine if one.model is model], market) for model in group}
        made.append(Neighbourhood(models=tuple(group), candidates=candidates))
    return made


def _groups(models: Sequence[Model], possible: Sequence[_PossibleCandidate]) -> list[list[Model]]:
    """Group models by the instance type on which each could save most, ``NEIGHBOURS`` at a time; others are alone."""
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


def _could_save(possible: Sequence[_PossibleCandidate], *, for_ceiling: bool) -> list[_PossibleCandidate]:
    """Keep candidates that could save something together with other models on the same instance type."""
    kinds = (0, 1) if for_ceiling else (0,)
    most = [_largest_savings(possible, kind) for kind in kinds]

    def could_save(one: _PossibleCandidate) -> bool:
        for kind, largest in zip(kinds, most, strict=True):
            others = [saving for name, saving in largest[one.instance.instance_type] if name != one.model.name]
            if others and one.savings[kind] + sum(others[: NEIGHBOURS - 1]) > LEAST_SAVING:
                return True
        return False

    return [one for one in possible if could_save(one)]


def _largest_savings(possible: Sequence[_PossibleCandidate], kind: int) -> dict[str, list[tuple[str, float]]]:
    """Return by instance type the models with the largest savings of one kind, largest first; losses count as 0."""
    most: dict[str, dict[str, float]] = {}
    for one in possible:
        room = most.setdefault(one.instance.instance_type, {})
        room[one.model.name] = max(room.get(one.model.name, 0.0), one.savings[kind])
    return {
        name: sorted(room.items(), key=lambda item: (-item[1], item[0]))[:NEIGHBOURS] for name, room in most.items()
    }


def _at_known_rates(model: Model, market: Market) -> Iterator[_PossibleCandidate]:
    """Yield each config on each instance type that it does not fill, at its known rates, else as one replica.

    None for a model with a failure tolerance: which replicas a lost node takes would depend on the other models.
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


def _at_ideal_rates(one: _PossibleCandidate, market: Market) -> Iterator[_PossibleCandidate]:
    """Yield the possible candidate at ideal rates; nothing where even these cannot serve."""
    config, rates = one.config, one.model.search.rates
    if config.key not in rates:
        rates[config.key] = _ideal_rates(config)
    demand = _demand(config, rates[config.key], market)
    if demand is not None:
        yield replace(one, demand=demand, savings=_savings(one.model, one.instance, demand, market))


def _demand(config: ParallelConfig, rates: Rates, market: Market) -> SharedDemand | None:
    """Return the replicas needed where one carries ``rates``; None where that is not possible."""
    replicas = replicas_of(config.entry, rates, 1, market.capacity.zones) if rates.within else ""
    return None if isinstance(replicas, str) else SharedDemand(gpus=config.gpus, replicas=replicas)


def _ideal_rates(config: ParallelConfig) -> Rates:
    """Return rates that no settings of the configuration exceed; 0 where the weights alone do not fit."""
    try:
        settings = first_settings(config)
        memory = memory_of(config.model, config.gpu, settings)
        return ideal_rates(config, settings) if memory.weights_gib < memory.requested_gib else Rates(0.0)
    except BadInput:
        return Rates(0.0)


def _in_cheaper_sets(
    possible: Sequence[_PossibleCandidate], market: Market, *, for_ceiling: bool
) -> list[_PossibleCandidate]:
    """Keep candidates in a set on one instance type whose shared nodes cost less than own nodes at these rates."""
    kept: set[tuple[str, str, int]] = set()
    for kind in sorted({one.instance.instance_type for one in possible}):
        least: dict[str, dict[int, _PossibleCandidate]] = {}
        for one in possible:
            if one.instance.instance_type == kind:
                parallel_sizes = least.setdefault(one.model.name, {})
                parallel_sizes[one.demand.gpus] = _lower_bound(parallel_sizes.get(one.demand.gpus, one), one)
        for size in range(2, len(least) + 1):
            for several in itertools.combinations(least.values(), size):
                for chosen in itertools.product(*(parallel_sizes.values() for parallel_sizes in several)):
                    names = {(one.model.name, kind, one.demand.gpus) for one in chosen}
                    if not names <= kept and _saves(chosen, market, for_ceiling=for_ceiling):
                        kept |= names
    return [one for one in possible if (one.model.name, one.instance.instance_type, one.demand.gpus) in kept]


def _lower_bound(one: _PossibleCandidate, other: _PossibleCandidate) -> _PossibleCandidate:
    """Return a possible candidate with the lower of each replica count: a lower bound of both."""
    a, b = one.demand.replicas, other.demand.replicas
    replicas = Replicas(
        floor=min(a.floor, b.floor), expected=min(a.expected, b.expected), ceiling=min(a.ceiling, b.ceiling),
        by_hour=tuple(map(min, a.by_hour, b.by_hour)),
    )  # fmt: skip
    return replace(one, demand=replace(one.demand, replicas=replicas))


def _saves(chosen: Sequence[_PossibleCandidate], market: Market, *, for_ceiling: bool) -> bool:
    """Tell whether shared nodes for ``chosen`` may cost less than the cheapest own options of their models."""
    instance, own = chosen[0].instance, [one.model.best for one in chosen]
    sums = [sum(one.savings[kind] for one in chosen) > LEAST_SAVING for kind in (0, 1)]
    if not (sums[0] or (for_ceiling and sums[1])):
        return False
    nodes = shared_nodes([one.demand for one in chosen], instance.gpus)
    split = split_nodes(nodes, 1, market.capacity.spot_share)
    cost = fleet_usd_per_hour(split, (instance.offer(market.region),))
    cheaper = cost.expected < sum(option.usd_per_hour.expected for option in own) - LEAST_SAVING
    lower_ceiling = cost.ceiling < sum(option.ceiling_usd_per_hour for option in own) - LEAST_SAVING
    return cheaper or (for_ceiling and lower_ceiling)


def _built(model: Model, possible: Sequence[_PossibleCandidate], market: Market) -> dict[str, list[SharedCandidate]]:
    """Return by instance type the candidates of ``possible`` whose engine meets the objectives and can be placed."""
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
    """Return one option per instance type: the one that may buy most types."""
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
    """Drop candidates that another one with the same GPUs per pod matches or beats in every need."""

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
