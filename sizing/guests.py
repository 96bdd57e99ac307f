"""Which models may gain from shared nodes, and how they would run there: the bounds of ``sizing.fleet_search``.

Pods of ``g`` GPUs on nodes of ``G`` take at least ``g / G`` of a node each. So a guest's part of a shared fleet costs
at least that share of its floor at the on-demand price and of what is above it at the spot price, and of the ceiling
at least that share on demand: nodes of all guests together are never fewer than the sum of these shares, and a node
more never costs less. A shared fleet is worth having when it costs less than the cheapest own options of its models
together; so a guest can only be in one if what it could save at most (its own cost less its least part), with what
``NEIGHBOURS - 1`` others could save at most on the same instance type, is above nothing.

Pods that fill a node are no guests. Each takes a whole node wherever it runs, so with it a shared fleet has as many
nodes, no more of them on spot (the spot share of two sums rounded up apart is never less than together), and costs
no less than both apart.

The bound is taken as if one replica carried all traffic, then at a rate that no settings exceed, then at the real
rate; each time what cannot be worth it is dropped and no more is computed for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sizing.bill import model_fixed_usd_per_hour
from sizing.catalogue import Instance
from sizing.engines import (
    Engine,
    Reach,
    Rejected,
    Shape,
    build_engine,
    checkpoints,
    first_settings,
    ideal_rate,
    memory_of,
    widths,
)  # fmt: skip
from sizing.errors import BadInput
from sizing.fleets import LEAST_SAVING, Guest
from sizing.inputs import ModelEntry
from sizing.options import Option, Search, Supply, allowed_gpus, needed_replicas, place, replicas_of, shapes_of
from sizing.plan import Replicas
from sizing.pools import spot_price
from sizing.sharing import Tenant

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
    gpus: int
    savings: tuple[float, float]
    shape: Shape | None = None
    guest: Guest | None = None


def guests_of(models: Sequence[Model], supply: Supply, *, for_ceiling: bool) -> Guests:
    """Return what may be in a shared fleet that is cheaper than own nodes, or ``for_ceiling`` has a lower ceiling."""
    if len(models) < 2 or not supply.capacity.share_pools:
        return {}
    found = _worth([one for model in models for one in _sketched(model, supply)], for_ceiling=for_ceiling)
    found = _worth([one for model in models for one in _rated(model, found, supply)], for_ceiling=for_ceiling)
    found = _worth([one for model in models for one in _built(model, found, supply)], for_ceiling=for_ceiling)
    guests: dict[str, dict[str, list[Guest]]] = {}
    for one in found:
        if one.guest is not None:
            guests.setdefault(one.model.name, {}).setdefault(one.instance.instance_type, []).append(one.guest)
    return {name: {kind: _undominated(several) for kind, several in kinds.items()} for name, kinds in guests.items()}


def saving_at_most(model: Model, guests: Guests, supply: Supply) -> dict[str, float]:
    """Return what ``model`` could save at most in expected USD per hour, by instance type; below 0 where nothing."""
    found = {}
    for kind, several in guests.get(model.name, {}).items():
        instance = several[0].option.instance
        made = [_prospect(model, instance, one.tenant.gpus, one.tenant.replicas, supply) for one in several]
        found[kind] = max(one.savings[0] for one in made)
    return found


def _prospect(
    model: Model, instance: Instance, gpus: int, replicas: Replicas, supply: Supply, *,
    shape: Shape | None = None, guest: Guest | None = None,
) -> _Prospect:  # fmt: skip
    on_demand, own = instance.on_demand_usd_per_hour[supply.region], model.best
    above = spot_price(instance, supply.region) if supply.capacity.spot_share else on_demand
    expected = replicas.floor * on_demand + (replicas.expected - replicas.floor) * above
    ceiling = replicas.ceiling * on_demand
    savings = (
        own.usd_per_hour.expected - expected * gpus / instance.gpus,
        own.ceiling_usd_per_hour - ceiling * gpus / instance.gpus,
    )
    return _Prospect(model=model, instance=instance, gpus=gpus, savings=savings, shape=shape, guest=guest)


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
    """Yield a prospect for each width on each machine that it does not fill, as if one replica carried everything."""
    replicas = replicas_of(model.entry, math.inf, 1)
    if isinstance(replicas, str):
        return
    sizes = sorted({tensor * pipeline for tensor, pipeline in widths(model.entry)})
    for gpu in allowed_gpus(model.entry, supply.capacity, supply.catalogue):
        for instance in supply.catalogue.instances(gpu.name, supply.region):
            for gpus in sizes:
                if gpus < instance.gpus and instance.gpus % gpus == 0:
                    yield _prospect(model, instance, gpus, replicas, supply)


def _rated(model: Model, prospects: Sequence[_Prospect], supply: Supply) -> Iterator[_Prospect]:
    """Yield the prospects of each shape that may fit, at the rate that no settings of it exceed."""
    wanted = {(one.instance.instance_type, one.gpus): one.instance for one in prospects if one.model is model}
    shapes = shapes_of(model.entry, checkpoints(model.entry, supply.catalogue), supply, Search()) if wanted else []
    for shape in shapes:
        gpus = shape.tensor_parallel * shape.pipeline_parallel
        places = [at for (_, width), at in wanted.items() if width == gpus and at.gpu == shape.gpu.name]
        rate = _most_rate(shape) if places else 0.0
        replicas = replicas_of(model.entry, rate, 1) if rate else ""
        if not isinstance(replicas, str):
            yield from (_prospect(model, at, gpus, replicas, supply, shape=shape) for at in places)


def _most_rate(shape: Shape) -> float:
    """Return a rate that the shape does not exceed; 0 where its weights alone are more than the GPUs may hold."""
    try:
        settings = first_settings(shape)
        memory = memory_of(shape.model, shape.gpu, settings)
        return ideal_rate(shape, settings) if memory.weights_gib < memory.requested_gib else 0.0
    except BadInput:
        return 0.0


def _built(model: Model, prospects: Sequence[_Prospect], supply: Supply) -> Iterator[_Prospect]:
    """Yield the prospects whose engine exists and can be placed, with what it needs."""
    mine = [one for one in prospects if one.model is model]
    built = {option.engine.name: option.engine for option in model.search.options}
    for shape in {one.shape.name: one.shape for one in mine if one.shape is not None}.values():
        engine = built.get(shape.name) or build_engine(shape, Reach())
        if isinstance(engine, Rejected):
            continue
        wanted = {one.instance.instance_type for one in mine if one.shape is shape}
        for option in _placed(model.entry, engine, supply):
            if option.instance.instance_type in wanted:
                guest = _guest(model.entry, option, supply)
                gpus, replicas = guest.tenant.gpus, guest.tenant.replicas
                yield _prospect(model, option.instance, gpus, replicas, supply, guest=guest)


def _placed(entry: ModelEntry, engine: Engine, supply: Supply) -> Iterable[Option]:
    """Return one option for each instance type: that with most types in its offers."""
    search, found = Search(), dict[str, Option]()
    place(entry, engine, supply, search)
    for option in search.options:
        found.setdefault(option.instance.instance_type, option)
    return found.values()


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
            one.option.engine.pod.ephemeral_gib,
            one.fixed_usd_per_hour,
        )

    kept: list[Guest] = []
    for one in sorted(guests, key=lambda guest: (needs(guest), guest.option.engine.name)):
        rivals = [other for other in kept if other.tenant.gpus == one.tenant.gpus]
        if not any(all(a <= b for a, b in zip(needs(other), needs(one), strict=True)) for other in rivals):
            kept.append(one)
    return kept
