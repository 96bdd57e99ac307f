"""Every way to serve one model: the engines of ``sizing.planning.search.engines`` x instance types, with replicas,
nodes and cost.

``enumerate_options`` is exhaustive over a small space and keeps the reason of each rejection; choosing among the
options is ``sizing.planning.planner``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.catalogue import Instance
from sizing.catalogue.files import serving_facts
from sizing.cost.bill import disk_usd_per_hour, model_fixed_usd_per_hour
from sizing.inputs import ModelEntry
from sizing.models.spec import ModelSpec
from sizing.nodes.loss_tolerance import check_tolerance
from sizing.nodes.pools import fleet_usd_per_hour, split_nodes
from sizing.nodes.quotas import check_quotas, quota_shortage
from sizing.nodes.zones import zones_of
from sizing.performance.features import check_speculation
from sizing.plan import InstanceOffer, Replicas
from sizing.planning.search.checks import allowed_gpus, check_lengths
from sizing.planning.search.engines import Engine, build_engine
from sizing.planning.search.options import Market, Option, Search
from sizing.planning.search.parallel_configs import ParallelConfig, Rejected, RejectionKind, checkpoints, parallel_sizes
from sizing.planning.search.pruning import beaten
from sizing.planning.search.rates import Rates
from sizing.planning.search.replicas import replicas_of
from sizing.serving.pod import disk, fits_node


def needed_replicas(entry: ModelEntry, option: Option) -> Replicas:
    """Return the replica counts of ``option`` without rounding to whole nodes: those of shared nodes."""
    found = replicas_of(entry, option.engine.rates, 1, len(option.zones))
    return option.replicas if isinstance(found, str) else found


def _offers(engine: Engine, primary: Instance, usable: Sequence[Instance], region: str) -> tuple[InstanceOffer, ...]:
    """Return what a pool may buy: ``primary``, then types with as many GPUs within the pool's price range, by price."""
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


def place(
    entry: ModelEntry, engine: Engine, market: Market, machines: Sequence[Instance]
) -> tuple[list[Option], list[Rejected]]:
    """Return the options of one engine over the instance types of its GPU, and why other types were rejected."""
    options: list[Option] = []
    rejected: list[Rejected] = []
    judged = [(instance, _unusable(engine, instance)) for instance in machines]
    for kind, reason in sorted({why for _, why in judged if why is not None}, key=lambda why: why[1]):
        types = ", ".join(instance.instance_type for instance, why in judged if why == (kind, reason))
        rejected.append(Rejected(option=f"{engine.name} on {types}", kind=kind, reason=reason))
    usable = [instance for instance, why in judged if why is None]
    for instance in usable:
        replicas = replicas_of(entry, engine.rates, instance.gpus // engine.pod.gpus, market.capacity.zones)
        if isinstance(replicas, str):
            title = f"{engine.name} on {instance.instance_type}"
            rejected.append(Rejected(option=title, kind="too-many-replicas", reason=replicas))
            continue
        offers = _offers(engine, instance, usable, market.region)
        for bought in {len(offers): offers, 1: offers[:1]}.values():
            option = _option(engine, instance, bought, replicas, market)
            short = quota_shortage(market.capacity, option.purchases, market.catalogue)
            if short:
                types = ", ".join(offer.instance_type for offer in bought)
                rejected.append(Rejected(option=f"{engine.name} on {types}", kind="quota", reason=short))
            else:
                options.append(option)
    return options, rejected


def _unusable(engine: Engine, instance: Instance) -> tuple[RejectionKind, str] | None:
    """Return why pods of the engine do not fit the instance type, or leave GPUs over; None where they fit."""
    if instance.gpus < engine.pod.gpus:
        return "wrong-gpu-count", f"has {instance.gpus} GPUs, {engine.pod.gpus} are needed"
    if instance.gpus % engine.pod.gpus:
        return "wrong-gpu-count", f"{instance.gpus} GPUs are no multiple of {engine.pod.gpus}"
    if not fits_node(engine.pod, instance):
        return "pod-too-large", (
            f"pods of {engine.pod.cpu:g} vCPU and {engine.pod.memory_gib:g} GiB do not fit beside the daemonsets in "
            f"{instance.allocatable_cpu:g} vCPU and {instance.allocatable_memory_gib:.1f} GiB"
        )
    return None


def _option(
    engine: Engine, instance: Instance, offers: tuple[InstanceOffer, ...], replicas: Replicas, market: Market
) -> Option:
    region, catalogue, per_node = market.region, market.catalogue, instance.gpus // engine.pod.gpus
    split = split_nodes(replicas, per_node, market.capacity.spot_share)
    cost = fleet_usd_per_hour(split, offers)
    volume = disk_usd_per_hour(disk(engine.pod, instance), region, catalogue)
    fixed = model_fixed_usd_per_hour(engine.weights_bytes, replicas.ceiling, region, catalogue)
    return Option(
        engine=engine,
        instance=instance,
        offers=offers,
        per_node=per_node,
        replicas=replicas,
        split=split,
        usd_per_hour=cost,
        ceiling_usd_per_hour=cost.ceiling + split.ceiling * volume + fixed,
        zones=tuple(sorted(zones_of(instance, region, catalogue)[: market.capacity.zones])),
    )


def enumerate_options(entry: ModelEntry, market: Market, *, keep: int | None = None) -> Search:
    """Return every option of one model and every rejection; BadInput for invalid input.

    With ``keep`` a parallel configuration is rejected early where ``keep`` other engines cost less than it would at its
    ideal rates and one of them has no higher ceiling. So the cheapest option for any budget is never skipped.
    """
    models, search = checkpoints(entry, market.catalogue), Search()
    market.catalogue.region(market.region)
    check_quotas(market.capacity, market.catalogue)
    check_lengths(entry, models[0])
    check_speculation(entry.engine, f"models.{entry.name}.engine.")
    check_tolerance(entry, market.capacity)
    found = _parallel_configs(entry, models, market)
    search.configs, search.machines = found.configs, found.machines
    search.rejected += found.rejected
    for config in search.configs:
        if keep is not None:
            below, ideal = beaten(config, market, search, keep)
            if ideal is not None:
                search.rates[config.key] = ideal
            if below is not None:
                search.rejected.append(below)
                continue
        engine = build_engine(config, search.best_latency)
        search.rates[config.key] = Rates(0.0) if isinstance(engine, Rejected) else engine.rates
        if isinstance(engine, Rejected):
            search.rejected.append(engine)
            continue
        search.placed = True
        options, rejected = place(entry, engine, market, search.machines[engine.gpu.name])
        search.options += options
        search.rejected += rejected
    search.options.sort(key=lambda option: option.order)
    return search


@dataclass(frozen=True, kw_only=True)
class _Configs:
    """Parallel configurations by the cheapest instance type that holds them; instance types by GPU; rejections."""

    configs: list[ParallelConfig]
    machines: dict[str, list[Instance]]
    rejected: list[Rejected]


def _parallel_configs(entry: ModelEntry, models: Sequence[ModelSpec], market: Market) -> _Configs:
    """Return the parallel configurations of the allowed GPUs that instance types sold in enough zones hold."""
    found: list[tuple[float, str, ParallelConfig]] = []
    machines: dict[str, list[Instance]] = {}
    rejected: list[Rejected] = []
    for gpu in allowed_gpus(entry, market.capacity, market.catalogue):
        instances = market.catalogue.instances(gpu.name, market.region)
        for unpriced in market.catalogue.unpriced(gpu.name, market.region):
            reason = f"{market.region} sells it, but the catalogue of {market.catalogue.date} has no price"
            rejected.append(Rejected(option=unpriced, kind="no-price", reason=reason))
        if not instances:
            rejected.append(Rejected(option=gpu.name, kind="not-sold", reason=f"not sold in {market.region}"))
            continue
        most = max(instance.gpus for instance in instances)
        scarce = {one.instance_type: _too_few_zones(one, market) for one in instances}
        rejected += [why for why in scarce.values() if why is not None]
        buyable = machines[gpu.name] = [one for one in instances if scarce[one.instance_type] is None]
        for model, (tensor, pipeline) in itertools.product(models, parallel_sizes(entry)):
            config = ParallelConfig(
                entry=entry, model=model, gpu=gpu, tensor_parallel=tensor, pipeline_parallel=pipeline,
                variant=model is not models[0],
            )  # fmt: skip
            if tensor * pipeline > most:
                reason = f"no machine has more than {most} of them"
                rejected.append(Rejected(option=config.name, kind="no-machine", reason=reason))
                continue
            wide = [i.on_demand_usd_per_hour[market.region] for i in buyable if i.gpus >= tensor * pipeline]
            if wide:
                found.append((min(wide), config.name, config))
    configs = [config for _, _, config in sorted(found, key=lambda row: row[:2])]
    return _Configs(configs=configs, machines=machines, rejected=rejected)


def _too_few_zones(instance: Instance, market: Market) -> Rejected | None:
    """Return the rejection of a type that fewer zones sell than ``capacity.zones``; None where enough do."""
    zones, wanted = zones_of(instance, market.region, market.catalogue), market.capacity.zones
    if len(zones) >= wanted:
        return None
    known, count = ", ".join(zones) or "none", f"{len(zones)} zone{'' if len(zones) == 1 else 's'}"
    reason = f"sold in {count} of {market.region} ({known}), capacity.zones asks for {wanted}"
    return Rejected(option=instance.instance_type, kind="too-few-zones", reason=reason)
