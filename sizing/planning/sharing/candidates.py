"""Which models may gain from shared nodes, and how they would run there: the bounds of
``sizing.planning.sharing.fleet_search``.

Pods of ``g`` GPUs on nodes of ``G`` take at least ``g / G`` of a node each. So a guest's part of a shared fleet costs
at least that share of its floor at the on-demand price and of what is above it at the spot price, and of the ceiling
at least that share on demand: nodes of all guests together are never fewer than the sum of these shares, and a node
more never costs less. A shared fleet is worth having when it costs less than the cheapest own options of its models
together; so a guest can only be in one if what it could save at most (its own cost less its least part), with what
``NEIGHBOURS - 1`` others could save at most on the same instance type, is above nothing.

Models that are to survive a loss keep their own nodes: what a loss takes is counted on those.

Pods that fill a node are no guests. Each takes a whole node wherever it runs, so with it a shared fleet has as many
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
from sizing.nodes.shared_nodes import Tenant, shared_nodes
from sizing.plan import Replicas
from sizing.planning.search.engines import Engine, Reach, build_engine, first_settings, ideal_rates, memory_of
from sizing.planning.search.enumeration import needed_replicas, place
from sizing.planning.search.options import Option, Search, Supply
from sizing.planning.search.rates import Rates
from sizing.planning.search.replicas import replicas_of
from sizing.planning.search.shapes import Rejected, Shape  # fmt: skip
from sizing.planning.sharing.fleets import LEAST_SAVING, Guest

NEIGHBOURS = 4
"""Models among which every partition is tried."""

Guests = Mapping[str, Mapping[str, Sequence[Guest]]]
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
class _Prospect:
    """A way to run a model on shared nodes of one type, and what it could save at most: expected, at the ceiling."""

    model: Model
    instance: Instance
    shape: Shape
    tenant: Tenant
    savings: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """Models among which every partition is tried, and as what each may run on shared nodes."""

    models: tuple[Model, ...]
    guests: Guests


def neighbourhoods(models: Sequence[Model], supply: Supply, *, for_ceiling: bool) -> list[Neighbourhood]:
    """Cut the models into groups with the guests that may be in a shared fleet which is cheaper than own nodes, or
    ``for_ceiling`` has a lower ceiling. A small stack is one group.
    """
    found: list[_Prospect] = []
    if len(models) > 1 and supply.capacity.share_pools:
        found = _worth([one for model in models for one in _sketched(model, supply)], for_ceiling=for_ceiling)
        found = _worth([new for one in found for new in _rated(one, supply)], for_ceiling=for_ceiling)
    made = []
    for group in _groups(models, found):
        names = {model.name for model in group}
        mine = _together([one for one in found if one.model.name in names], supply, for_ceiling=for_ceiling)
        guests = {model.name: _built(model, [one for one in mine if one.model is model], supply) for model in group}
        made.append(Neighbourhood(models=tuple(group), guests=guests))
    return made


def _groups(models: Sequence[Model], prospects: Sequence[_Prospect]) -> list[list[Model]]:
    """Cut the models by where they could save most, ``NEIGHBOURS`` at a time; those that save nothing are alone."""
    if len(models) <= NEIGHBOURS:
        return [list(models)]
    best: dict[str, tuple[str, float]] = {}
    for one in sorted(prospects, key=lambda one: (-one.savings[0], one.instance.instance_type)):
        best.setdefault(one.model.name, (one.instance.instance_type, -one.savings[0]))
    alone = [[model] for model in models if model.name not in best]
    rest = sorted((model for model in models if model.name in best), key=lambda model: (best[model.name], model.name))
    return [*alone, *(rest[start : start + NEIGHBOURS] for start in range(0, len(rest), NEIGHBOURS))]


def _savings(model: Model, instance: Instance, tenant: Tenant, supply: Supply) -> tuple[float, float]:
    own, replicas, part = model.best, tenant.replicas, tenant.gpus / instance.gpus
    offer = instance.offer(supply.region)
    on_demand = offer.on_demand_usd_per_hour
    above = offer.usd_per_hour("spot" if supply.capacity.spot_share else "on-demand")
    expected = replicas.floor * on_demand + (replicas.mean - replicas.floor) * above
    return (
        own.usd_per_hour.expected - part * expected,
        own.ceiling_usd_per_hour - part * replicas.ceiling * on_demand,
    )


def _worth(prospects: Sequence[_Prospect], *, for_ceiling: bool) -> list[_Prospect]:
    """Keep what could save something together with others on the same instance type."""
    kinds = (0, 1) if for_ceiling else (0,)
    most = [_largest_savings(prospects, kind) for kind in kinds]

    def worth(one: _Prospect) -> bool:
        for kind, largest in zip(kinds, most, strict=True):
            beside = [saving for name, saving in largest[one.instance.instance_type] if name != one.model.name]
            if beside and one.savings[kind] + sum(beside[: NEIGHBOURS - 1]) > LEAST_SAVING:
                return True
        return False

    return [one for one in prospects if worth(one)]


def _largest_savings(prospects: Sequence[_Prospect], kind: int) -> dict[str, list[tuple[str, float]]]:
    """Return by instance type the models that could save most of one kind, largest first, none below nothing."""
    most: dict[str, dict[str, float]] = {}
    for one in prospects:
        room = most.setdefault(one.instance.instance_type, {})
        room[one.model.name] = max(room.get(one.model.name, 0.0), one.savings[kind])
    return {
        name: sorted(room.items(), key=lambda item: (-item[1], item[0]))[:NEIGHBOURS] for name, room in most.items()
    }


def _sketched(model: Model, supply: Supply) -> Iterator[_Prospect]:
    """Yield each shape on each machine that it does not fill, at the rate that is known of it, or with one replica.

    None of a model that tolerates a loss: which of its replicas go with a node would hang on the other models.
    """
    if model.entry.loss_tolerance != "none":
        return
    rates = model.search.rates
    for shape in model.search.shapes:
        tenant = _tenant(shape, rates.get(shape.key, Rates(math.inf)), supply)
        if tenant is None:
            continue
        for instance in model.search.machines[shape.gpu.name]:
            if shape.gpus < instance.gpus and instance.gpus % shape.gpus == 0:
                savings = _savings(model, instance, tenant, supply)
                yield _Prospect(model=model, instance=instance, shape=shape, tenant=tenant, savings=savings)


def _rated(one: _Prospect, supply: Supply) -> Iterator[_Prospect]:
    """Yield the prospect at a rate that its shape does not exceed; nothing where that cannot serve."""
    shape, rates = one.shape, one.model.search.rates
    if shape.key not in rates:
        rates[shape.key] = _most_rates(shape)
    tenant = _tenant(shape, rates[shape.key], supply)
    if tenant is not None:
        yield replace(one, tenant=tenant, savings=_savings(one.model, one.instance, tenant, supply))


def _tenant(shape: Shape, rates: Rates, supply: Supply) -> Tenant | None:
    """Return the least that the shape needs where a replica carries no more than ``rates``; None where it cannot."""
    replicas = replicas_of(shape.entry, rates, 1, supply.capacity.zones) if rates.within else ""
    return None if isinstance(replicas, str) else Tenant(gpus=shape.gpus, replicas=replicas)


def _most_rates(shape: Shape) -> Rates:
    """Return rates that the shape does not exceed; 0 where its weights alone are more than the GPUs may hold."""
    try:
        settings = first_settings(shape)
        memory = memory_of(shape.model, shape.gpu, settings)
        return ideal_rates(shape, settings) if memory.weights_gib < memory.requested_gib else Rates(0.0)
    except BadInput:
        return Rates(0.0)


def _together(prospects: Sequence[_Prospect], supply: Supply, *, for_ceiling: bool) -> list[_Prospect]:
    """Keep what is part of a set on one instance type that costs less than apart, were the rates real."""
    kept: set[tuple[str, str, int]] = set()
    for kind in sorted({one.instance.instance_type for one in prospects}):
        least: dict[str, dict[int, _Prospect]] = {}
        for one in prospects:
            if one.instance.instance_type == kind:
                widths = least.setdefault(one.model.name, {})
                widths[one.tenant.gpus] = _least(widths.get(one.tenant.gpus, one), one)
        for size in range(2, len(least) + 1):
            for several in itertools.combinations(least.values(), size):
                for chosen in itertools.product(*(widths.values() for widths in several)):
                    names = {(one.model.name, kind, one.tenant.gpus) for one in chosen}
                    if not names <= kept and _saves(chosen, supply, for_ceiling=for_ceiling):
                        kept |= names
    return [one for one in prospects if (one.model.name, one.instance.instance_type, one.tenant.gpus) in kept]


def _least(one: _Prospect, other: _Prospect) -> _Prospect:
    """Return a prospect that needs no more than either."""
    a, b = one.tenant.replicas, other.tenant.replicas
    replicas = Replicas(
        floor=min(a.floor, b.floor), expected=min(a.expected, b.expected), ceiling=min(a.ceiling, b.ceiling),
        by_hour=tuple(map(min, a.by_hour, b.by_hour)),
    )  # fmt: skip
    return replace(one, tenant=replace(one.tenant, replicas=replicas))


def _saves(chosen: Sequence[_Prospect], supply: Supply, *, for_ceiling: bool) -> bool:
    """Tell whether the nodes of ``chosen`` together may cost less than the cheapest own options of their models."""
    instance, own = chosen[0].instance, [one.model.best for one in chosen]
    sums = [sum(one.savings[kind] for one in chosen) > LEAST_SAVING for kind in (0, 1)]
    if not (sums[0] or (for_ceiling and sums[1])):
        return False
    nodes = shared_nodes([one.tenant for one in chosen], instance.gpus)
    split = split_nodes(nodes, 1, supply.capacity.spot_share)
    cost = fleet_usd_per_hour(split, (instance.offer(supply.region),))
    cheaper = cost.expected < sum(option.usd_per_hour.expected for option in own) - LEAST_SAVING
    leaner = cost.ceiling < sum(option.ceiling_usd_per_hour for option in own) - LEAST_SAVING
    return cheaper or (for_ceiling and leaner)


def _built(model: Model, prospects: Sequence[_Prospect], supply: Supply) -> dict[str, list[Guest]]:
    """Return by instance type the guests of ``prospects`` whose engine exists and can be placed."""
    built = {option.engine.key: option.engine for option in model.search.options}
    found: dict[str, list[Guest]] = {}
    for shape in {one.shape.key: one.shape for one in prospects}.values():
        engine = built.get(shape.key) or build_engine(shape, Reach())
        wanted = {one.instance.instance_type for one in prospects if one.shape is shape}
        placed = [] if isinstance(engine, Rejected) else _placed(model, engine, supply)
        for option in placed:
            if option.instance.instance_type in wanted:
                found.setdefault(option.instance.instance_type, []).append(_guest(model.entry, option, supply))
    return {kind: _undominated(guests) for kind, guests in found.items()}


def _placed(model: Model, engine: Engine, supply: Supply) -> list[Option]:
    """Return one option for each instance type: that with most types in its offers."""
    options, _ = place(model.entry, engine, supply, model.search.machines[engine.gpu.name])
    found: dict[str, Option] = {}
    for option in options:
        found.setdefault(option.instance.instance_type, option)
    return list(found.values())


def _guest(entry: ModelEntry, option: Option, supply: Supply) -> Guest:
    replicas = needed_replicas(entry, option)
    fixed = model_fixed_usd_per_hour(option.engine.weights_bytes, replicas.ceiling, supply.region, supply.catalogue)
    return Guest(
        model=entry.name,
        option=option,
        tenant=Tenant(gpus=option.engine.pod.gpus, replicas=replicas),
        fixed_usd_per_hour=fixed,
    )


def _undominated(guests: Sequence[Guest]) -> list[Guest]:
    """Leave out guests as wide as another that needs no more of anything."""

    def needs(one: Guest) -> tuple[float, ...]:
        counts = one.tenant.replicas
        return (
            counts.floor,
            counts.expected,
            counts.ceiling,
            *counts.by_hour,
            one.option.engine.pod.ephemeral_gib,
            one.fixed_usd_per_hour,
        )

    kept: list[Guest] = []
    for one in sorted(guests, key=lambda guest: (needs(guest), guest.option.engine.name)):
        rivals = [other for other in kept if other.tenant.gpus == one.tenant.gpus]
        if not any(all(a <= b for a, b in zip(needs(other), needs(one), strict=True)) for other in rivals):
            kept.append(one)
    return kept
