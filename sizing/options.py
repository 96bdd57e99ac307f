"""Every way to serve one model: the engines of ``sizing.engines`` x instance types, with replicas, nodes and cost.

``enumerate_options`` is exhaustive over a small space and keeps the reason of each rejection; choosing among the
options is ``sizing.planner``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from sizing.bill import disk_usd_per_hour, model_fixed_usd_per_hour
from sizing.catalogue import Catalogue, Gpu, Instance, load_catalogue
from sizing.engines import (
    Engine,
    Rates,
    Reach,
    Rejected,
    Shape,
    ShapeKey,
    build_engine,
    checkpoints,
    first_settings,
    ideal_rates,
    widths,
)  # fmt: skip
from sizing.errors import BadInput
from sizing.extras import check_speculation
from sizing.facts import serving_facts
from sizing.inputs import Capacity, ModelEntry
from sizing.losses import check_tolerance, nodes_that_survive, replicas_that_survive
from sizing.model import ModelSpec
from sizing.plan import Bounds, InstanceOffer, LossTolerance, Replicas
from sizing.pools import NodeSplit, fleet_usd_per_hour, split_nodes, spot_price
from sizing.quotas import Purchase, check_quotas, quota_shortage
from sizing.serving import disk, fits_node
from sizing.throughput import check_answer

MOST_REPLICAS = 1000
"""More replicas than this is not one stack (the same limit as ``replicas`` in the settings)."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One engine on one instance type with its replicas and nodes; ``ceiling_usd_per_hour`` has disks and logs."""

    engine: Engine
    instance: Instance
    offers: tuple[InstanceOffer, ...]
    per_node: int
    replicas: Replicas
    split: NodeSplit
    spot_usd_per_hour: float
    usd_per_hour: Bounds
    ceiling_usd_per_hour: float
    zones: tuple[str, ...]

    @property
    def purchases(self) -> tuple[Purchase, ...]:
        """Nodes at the most traffic by capacity type, as quotas count them."""
        split = self.split
        return (
            Purchase(capacity_type="on-demand", nodes=split.floor, offers=self.offers[:1]),
            Purchase(capacity_type="on-demand", nodes=split.burst_ceiling, offers=self.offers),
            Purchase(capacity_type="spot", nodes=split.spot_ceiling, offers=self.offers),
        )

    @property
    def gpus(self) -> int:
        """GPUs bought at the planned traffic."""
        return self.split.expected * self.instance.gpus

    @cached_property
    def order(self) -> tuple[float, int, int, float, float, int, int, str]:
        """Cheapest expected first, then fewer GPUs, no idle ones, less at the most traffic on the planned type, lower
        floor, no pipeline, more spot types, name.
        """
        idle = self.split.expected * self.per_node - self.replicas.expected
        name = f"{self.engine.name} {self.instance.instance_type}"
        stages, cost = self.engine.settings.pipeline_parallel, self.usd_per_hour
        most = round(self.split.ceiling * self.offers[0].on_demand_usd_per_hour, 9)
        return (round(cost.expected, 9), self.gpus, idle, most, cost.floor, stages, -len(self.offers), name)


@dataclass(frozen=True, kw_only=True)
class Supply:
    """Which machines may be bought, where, and what is known of them."""

    capacity: Capacity
    region: str
    catalogue: Catalogue


@dataclass(kw_only=True)
class Search:
    """What an enumeration found."""

    options: list[Option] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    placed: bool = False
    """At least one engine fits and meets the objectives; what is missing is a machine."""
    reach: Reach = field(default_factory=Reach)
    machines: dict[str, list[Instance]] = field(default_factory=dict)
    """Those that enough zones sell by GPU, cheapest first."""
    shapes: list[Shape] = field(default_factory=list)
    """All that some of these machines hold."""
    rates: dict[ShapeKey, Rates] = field(default_factory=dict)
    """What no settings of a shape exceed, where it was looked at; 0 where it cannot serve."""


@lru_cache(maxsize=16)
def _ranked_zones(region: str, folder: Path) -> tuple[str, ...]:
    catalogue, excluded = load_catalogue(folder), serving_facts("zones")["without_eks_subnets"]
    sold = [instance.zone_ids.get(region, ()) for instance in catalogue.all_instances if instance.gpus]
    zones = [zone for zone in catalogue.region(region).zone_ids if zone not in excluded]
    return tuple(sorted(zones, key=lambda zone: (-sum(zone in offered for offered in sold), zone)))


def network_zones(region: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the zone ids of ``region`` that may hold EKS subnets, those that sell most GPU types first.

    A network of N zones takes the first N, and so does each pool among those that sell its type: plans and
    networks that are made apart meet in the same zones.
    """
    return _ranked_zones(catalogue.region(region).name, catalogue.folder)


def zones_of(instance: Instance, region: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the zones of ``network_zones`` that sell ``instance``, in that order."""
    sold = instance.zone_ids.get(region, ())
    return tuple(zone for zone in network_zones(region, catalogue) if zone in sold)


def allowed_gpus(entry: ModelEntry, capacity: Capacity, catalogue: Catalogue) -> tuple[Gpu, ...]:
    """Return the GPU types that entry and capacity allow, by name; BadInput for an unknown one."""
    allowed = catalogue.gpus if capacity.gpus is None else tuple(catalogue.gpu(name) for name in capacity.gpus)
    if entry.engine.gpu is not None:
        wanted = catalogue.gpu(entry.engine.gpu)
        if wanted.name not in {gpu.name for gpu in allowed}:
            names = ", ".join(sorted(gpu.name for gpu in allowed))
            raise BadInput(f"models.{entry.name}.engine.gpu", f"{wanted.name} is not in capacity.gpus", limit=names)
        allowed = (wanted,)
    return tuple(sorted({gpu.name: gpu for gpu in allowed}.values(), key=lambda gpu: gpu.name))


def check_lengths(entry: ModelEntry, model: ModelSpec) -> None:
    """Raise BadInput when a mean request, or one with a tail, exceeds the model's context or max_model_len, and for
    answers of a model that generates no tokens.
    """
    load = entry.workload
    check_answer(model, load.output_tokens, f"models.{entry.name}.workload.outputTokens")
    longest = min(model.max_position_embeddings, entry.engine.max_model_len or model.max_position_embeddings)
    requests = {
        "inputTokens + outputTokens": load.input_tokens + load.output_tokens,
        "inputTokensP95 + outputTokens": (load.input_tokens_p95 or 0) + load.output_tokens,
        "inputTokens + outputTokensP95": load.input_tokens + (load.output_tokens_p95 or 0),
    }
    for sum_of, tokens in requests.items():
        if tokens <= longest:
            continue
        raise BadInput(
            f"models.{entry.name}.workload",
            f"{sum_of} = {tokens} is longer than a request may be",
            limit=f"{longest} tokens for {model.name}",
            way_out="shorten the request or choose a model with a longer context",
        )


def whole_replicas(parts: float, per_node: int, tolerance: LossTolerance, zones: int) -> int:
    """Return the replicas of whole nodes that hold so many parts of them, also when the tolerated loss has come."""
    nodes = math.ceil(math.ceil(parts - 1e-9) / per_node)
    return nodes_that_survive(nodes, tolerance, zones) * per_node if nodes else 0


def replicas_of(entry: ModelEntry, rates: Rates, per_node: int, zones: int) -> Replicas | str:
    """Return the replica counts where one carries ``rates``, or why there are none.

    They come in steps of what a node holds, with what ``lossTolerance`` keeps in reserve in ``zones`` zones. The floor
    is that of the requests that the objectives are for.
    """
    workload, bounds, tolerance = entry.workload, entry.replicas, entry.loss_tolerance

    def needed(share: float, aside: float = 0.0) -> int:
        return whole_replicas(rates.replicas(workload, share) - aside, per_node, tolerance, zones)

    batch = rates.batch(workload)
    least = max(needed(workload.minimum_share, batch), whole_replicas(1, per_node, tolerance, zones))
    floor = (0 if entry.scale_to_zero else least) if bounds.floor is None else bounds.floor
    expected = max(needed(1.0), floor, 1)
    ceiling = max(needed(workload.peak_factor), expected)
    if ceiling > MOST_REPLICAS:
        return f"needs {ceiling} replicas at the peak, more than {MOST_REPLICAS}"
    if bounds.ceiling is not None:
        carried = math.ceil(rates.replicas(workload) - 1e-9)
        fewest = max(replicas_that_survive(carried, per_node, tolerance, zones), floor)
        if bounds.ceiling < fewest:
            kept = "" if tolerance == "none" else f" with lossTolerance {tolerance}"
            return f"needs {fewest} replicas for requestsPerSecond{kept}, replicas.ceiling allows {bounds.ceiling}"
        floor, expected, ceiling = min(floor, bounds.ceiling), min(expected, bounds.ceiling), bounds.ceiling
    by_hour = tuple(min(max(needed(share), floor), expected) for share in workload.daily_shape or ())
    return Replicas(floor=floor, expected=expected, ceiling=ceiling, batch=batch, by_hour=by_hour)


def needed_replicas(entry: ModelEntry, option: Option) -> Replicas:
    """Return the replica counts of ``option`` without rounding to whole nodes: those of shared nodes."""
    found = replicas_of(entry, option.engine.rates, 1, len(option.zones))
    return option.replicas if isinstance(found, str) else found


def _offers(engine: Engine, primary: Instance, usable: Sequence[Instance], region: str) -> tuple[InstanceOffer, ...]:
    """Primary first, then types of the same GPU count whose price is within the pool's range, by price."""
    most = primary.on_demand_usd_per_hour[region] * serving_facts("pool")["dearest_over_cheapest"]
    others = [
        instance
        for instance in usable
        if instance.gpus == primary.gpus
        and instance.instance_type != primary.instance_type
        and primary.on_demand_usd_per_hour[region] <= instance.on_demand_usd_per_hour[region] <= most
        and set(primary.zone_ids[region]) <= set(instance.zone_ids[region])
        and disk(engine.pod, instance).size_gib == disk(engine.pod, primary).size_gib
    ]
    return tuple(instance.offer(region) for instance in (primary, *others))


def place(entry: ModelEntry, engine: Engine, supply: Supply, search: Search) -> None:
    """Add to ``search`` the options of one engine over the instance types of its GPU."""
    judged = [(instance, _unusable(engine, instance)) for instance in search.machines[engine.gpu.name]]
    for reason in sorted({reason for _, reason in judged} - {""}):
        types = ", ".join(instance.instance_type for instance, why in judged if why == reason)
        search.rejected.append(Rejected(option=f"{engine.name} on {types}", reason=reason))
    usable = [instance for instance, reason in judged if not reason]
    for instance in usable:
        replicas = replicas_of(entry, engine.rates, instance.gpus // engine.pod.gpus, supply.capacity.zones)
        if isinstance(replicas, str):
            search.rejected.append(Rejected(option=f"{engine.name} on {instance.instance_type}", reason=replicas))
            continue
        offers = _offers(engine, instance, usable, supply.region)
        for bought in {len(offers): offers, 1: offers[:1]}.values():
            option = _option(engine, instance, bought, replicas, supply)
            short = quota_shortage(supply.capacity, option.purchases, supply.catalogue)
            if short:
                types = ", ".join(offer.instance_type for offer in bought)
                search.rejected.append(Rejected(option=f"{engine.name} on {types}", reason=short))
            else:
                search.options.append(option)


def _unusable(engine: Engine, instance: Instance) -> str:
    if instance.gpus < engine.pod.gpus:
        return f"has {instance.gpus} GPUs, {engine.pod.gpus} are needed"
    if instance.gpus % engine.pod.gpus:
        return f"{instance.gpus} GPUs are no multiple of {engine.pod.gpus}"
    if not fits_node(engine.pod, instance):
        return (
            f"pods of {engine.pod.cpu:g} vCPU and {engine.pod.memory_gib:g} GiB do not fit beside the daemonsets in "
            f"{instance.allocatable_cpu:g} vCPU and {instance.allocatable_memory_gib:.1f} GiB"
        )
    return ""


def _option(
    engine: Engine, instance: Instance, offers: tuple[InstanceOffer, ...], replicas: Replicas, supply: Supply
) -> Option:
    region, catalogue, per_node = supply.region, supply.catalogue, instance.gpus // engine.pod.gpus
    split = split_nodes(replicas, per_node, supply.capacity.spot_share)
    spot = spot_price(instance, region)
    cost = fleet_usd_per_hour(split, offers, spot)
    volume = disk_usd_per_hour(disk(engine.pod, instance), region, catalogue)
    fixed = model_fixed_usd_per_hour(engine.weights_bytes, replicas.ceiling, region, catalogue)
    return Option(
        engine=engine,
        instance=instance,
        offers=offers,
        per_node=per_node,
        replicas=replicas,
        split=split,
        spot_usd_per_hour=spot,
        usd_per_hour=cost,
        ceiling_usd_per_hour=cost.ceiling + split.ceiling * volume + fixed,
        zones=tuple(sorted(zones_of(instance, region, catalogue)[: supply.capacity.zones])),
    )


def enumerate_options(
    entry: ModelEntry, capacity: Capacity, region: str, catalogue: Catalogue, *, keep: int | None = None
) -> Search:
    """Return every option of one model and every rejection; BadInput for input that cannot mean anything.

    With ``keep`` shapes are left out that cannot matter: those whose cost at the rate that no settings exceed is above
    that of ``keep`` other engines, one of which has no higher ceiling either. What is left
    out says so among the rejections; the cheapest for any budget is never left out.
    """
    models, search = checkpoints(entry, catalogue), Search()
    supply = Supply(capacity=capacity, region=region, catalogue=catalogue)
    catalogue.region(region)
    check_quotas(capacity, catalogue)
    check_lengths(entry, models[0])
    check_speculation(entry.engine, f"models.{entry.name}.engine.")
    check_tolerance(entry, capacity)
    search.shapes = _shapes(entry, models, supply, search)
    for shape in search.shapes:
        below = None if keep is None else _beaten(shape, supply, search, keep)
        if below is not None:
            search.rejected.append(below)
            continue
        engine = build_engine(shape, search.reach)
        search.rates[shape.key] = Rates(0.0) if isinstance(engine, Rejected) else engine.rates
        if isinstance(engine, Rejected):
            search.rejected.append(engine)
            continue
        search.placed = True
        place(entry, engine, supply, search)
    search.options.sort(key=lambda option: option.order)
    return search


def _shapes(entry: ModelEntry, models: Sequence[ModelSpec], supply: Supply, search: Search) -> list[Shape]:
    """Return the shapes that some machine holds, those with the cheapest machine first."""
    found: list[tuple[float, str, Shape]] = []
    for gpu in allowed_gpus(entry, supply.capacity, supply.catalogue):
        instances = supply.catalogue.instances(gpu.name, supply.region)
        for unpriced in supply.catalogue.unpriced(gpu.name, supply.region):
            reason = f"{supply.region} sells it, but the catalogue of {supply.catalogue.date} has no price"
            search.rejected.append(Rejected(option=unpriced, reason=reason))
        if not instances:
            search.rejected.append(Rejected(option=gpu.name, reason=f"not sold in {supply.region}"))
            continue
        most = max(instance.gpus for instance in instances)
        buyable = search.machines[gpu.name] = [one for one in instances if _in_enough_zones(one, supply, search)]
        for model, (tensor, pipeline) in itertools.product(models, widths(entry)):
            shape = Shape(
                entry=entry, model=model, gpu=gpu, tensor_parallel=tensor, pipeline_parallel=pipeline,
                variant=model is not models[0],
            )  # fmt: skip
            if tensor * pipeline > most:
                reason = f"no machine has more than {most} of them"
                search.rejected.append(Rejected(option=shape.name, reason=reason))
                continue
            wide = [i.on_demand_usd_per_hour[supply.region] for i in buyable if i.gpus >= tensor * pipeline]
            if wide:
                found.append((min(wide), shape.name, shape))
    return [shape for _, _, shape in sorted(found, key=lambda row: row[:2])]


def _in_enough_zones(instance: Instance, supply: Supply, search: Search) -> bool:
    """Tell whether as many zones sell it as the capacity asks for; where not, it is rejected."""
    zones, wanted = zones_of(instance, supply.region, supply.catalogue), supply.capacity.zones
    if len(zones) < wanted:
        known, count = ", ".join(zones) or "none", f"{len(zones)} zone{'' if len(zones) == 1 else 's'}"
        reason = f"sold in {count} of {supply.region} ({known}), capacity.zones asks for {wanted}"
        search.rejected.append(Rejected(option=instance.instance_type, reason=reason))
    return len(zones) >= wanted


def _beaten(shape: Shape, supply: Supply, search: Search, keep: int) -> Rejected | None:
    """Say that ``keep`` options beat the least that this shape can cost; None where it may still win."""
    if len({option.engine.name for option in search.options}) < keep:
        return None
    for bound in (Rates(math.inf), None):  # first as if one replica carried everything, then at the ideal rates
        try:
            rates = bound or ideal_rates(shape, first_settings(shape))
        except BadInput:
            return None
        if bound is None:
            search.rates[shape.key] = rates
        least = _least_costs(shape, rates, supply, search.machines) if rates.within > 0 else []
        if least and all(_loses(cost, search.options, keep) for cost in least):
            lowest = min(cost.expected for cost in least)
            best = min(search.options, key=lambda option: option.order)
            told = f"{best.usd_per_hour.expected:.2f} USD/h of {best.engine.name} on {best.instance.instance_type}"
            reason = f"dearer: at least {lowest:.2f} USD/h expected against {told}"
            return Rejected(option=shape.name, reason=reason)
    return None


def _least_costs(
    shape: Shape, rates: Rates, supply: Supply, machines: Mapping[str, Sequence[Instance]]
) -> list[Bounds]:
    """Return the cost on each machine if one replica carried ``rates``: no option of the shape costs less."""
    gpus, costs = shape.tensor_parallel * shape.pipeline_parallel, []
    for instance in machines[shape.gpu.name]:
        if instance.gpus >= gpus:
            replicas = replicas_of(shape.entry, rates, instance.gpus // gpus, supply.capacity.zones)
            if not isinstance(replicas, str):
                split = split_nodes(replicas, instance.gpus // gpus, supply.capacity.spot_share)
                offers = (instance.offer(supply.region),)
                costs.append(fleet_usd_per_hour(split, offers, spot_price(instance, supply.region)))
    return costs


def _loses(least: Bounds, options: Sequence[Option], keep: int) -> bool:
    """Tell whether ``keep`` options are cheaper than ``least`` and one of them has no higher ceiling."""
    cheaper = [option for option in options if option.usd_per_hour.expected < least.expected - 1e-9]
    names = {option.engine.name for option in cheaper}
    return len(names) >= keep and any(option.ceiling_usd_per_hour <= least.ceiling for option in cheaper)
