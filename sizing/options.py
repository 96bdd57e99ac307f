"""Every way to serve one model: GPU x instance type x tensor parallelism, judged by memory, objectives, availability.

``enumerate_options`` is exhaustive over a small space and keeps the reason of each rejection; choosing among the
options is ``sizing.planner``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from sizing.bill import disk_usd_per_hour, model_fixed_usd_per_hour
from sizing.catalogue import Catalogue, Gpu, Instance, load_catalogue
from sizing.engine import resolve_engine
from sizing.errors import BadInput
from sizing.facts import serving_facts
from sizing.inputs import Capacity, ModelEntry, Workload
from sizing.memory import estimate_memory
from sizing.model import ModelSpec
from sizing.plan import Bounds, EngineSettings, InstanceOffer, MemoryEstimate, PodResources, Replicas
from sizing.pools import NodeSplit, fleet_usd_per_hour, split_nodes, spot_price
from sizing.queue import Traffic, most_traffic, traffic_at
from sizing.quotas import Purchase, check_quotas, quota_shortage
from sizing.serving import disk, fits_node, pod_resources
from sizing.throughput import Replica, replica_of

TENSOR_PARALLEL = (1, 2, 4, 8)
MOST_REPLICAS = 1000
"""More replicas than this is not one stack (the same limit as ``replicas`` in the settings)."""
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """An option that lost before its price was looked at, and why."""

    option: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine that fits: model on a GPU type with TP, its memory, and the most traffic within the objectives."""

    model: ModelSpec
    gpu: Gpu
    settings: EngineSettings
    memory: MemoryEstimate
    replica: Replica
    most: Traffic
    capped_context: bool
    weights_bytes: int
    pod: PodResources

    @property
    def name(self) -> str:
        """GPU and width, as rejections name it."""
        return option_name(self.gpu.name, self.settings.tensor_parallel)


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

    @property
    def order(self) -> tuple[float, int, int, float, int, str]:
        """Cheapest expected first, then fewer GPUs, no idle GPUs, lower floor, more types for spot, name."""
        idle = self.split.expected * self.per_node - self.replicas.expected
        name = f"{self.engine.name} {self.instance.instance_type}"
        return (round(self.usd_per_hour.expected, 9), self.gpus, idle, self.usd_per_hour.floor, -len(self.offers), name)


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
    missed: bool = False
    """At least one engine fits but misses the objectives."""
    best_ttft_ms: tuple[float, str] = (math.inf, "")
    best_tpot_ms: tuple[float, str] = (math.inf, "")


def option_name(gpu: str, tensor_parallel: int) -> str:
    """Name an engine by GPU and tensor parallelism: ``L40S TP4``."""
    return f"{gpu} TP{tensor_parallel}"


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
    """Raise BadInput when a mean request is longer than the model's context or the stated max_model_len."""
    tokens = entry.workload.input_tokens + entry.workload.output_tokens
    longest = min(model.max_position_embeddings, entry.engine.max_model_len or model.max_position_embeddings)
    if tokens > longest:
        raise BadInput(
            f"models.{entry.name}.workload",
            f"inputTokens + outputTokens = {tokens} is longer than a request may be",
            limit=f"{longest} tokens for {model.name}",
            way_out="shorten the request or choose a model with a longer context",
        )


def _context(entry: ModelEntry, model: ModelSpec) -> int:
    facts, workload = serving_facts("context"), entry.workload
    wanted: int = max(
        facts["times_mean_request"] * (workload.input_tokens + workload.output_tokens), facts["min_tokens"]
    )
    return min(1 << (wanted - 1).bit_length(), model.max_position_embeddings)


def _holds_one_request(memory: MemoryEstimate, max_model_len: int) -> bool:
    if not memory.fits or memory.kv_cache_gib <= 0:
        return False
    pessimistic = memory.kv_tokens * max(memory.kv_cache_gib_interval.p10, 0.0) / memory.kv_cache_gib
    return pessimistic >= max_model_len


def _settled(
    entry: ModelEntry, model: ModelSpec, gpu: Gpu, tensor_parallel: int
) -> tuple[EngineSettings, MemoryEstimate, bool]:
    """Return settings and memory; a full context that does not fit is capped to what the workload needs."""
    pipeline = entry.engine.pipeline_parallel or 1
    settings = resolve_engine(model, gpu, entry.engine, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline)
    memory = estimate_memory(model, gpu, settings)
    if _holds_one_request(memory, settings.max_model_len) or entry.engine.max_model_len is not None:
        return settings, memory, False
    capped = replace(settings, max_model_len=_context(entry, model))
    return capped, estimate_memory(model, gpu, capped), True


def build_engine(entry: ModelEntry, model: ModelSpec, gpu: Gpu, tensor_parallel: int, search: Search) -> Engine | None:
    """Return the engine, or None after its reason was added to ``search``."""
    name = option_name(gpu.name, tensor_parallel)
    try:
        settings, memory, capped = _settled(entry, model, gpu, tensor_parallel)
    except BadInput as error:
        search.rejected.append(Rejected(option=name, reason=error.line()))
        return None
    if not _holds_one_request(memory, settings.max_model_len):
        search.rejected.append(Rejected(option=name, reason=_memory_reason(memory, settings)))
        return None
    replica = replica_of(model, gpu, settings, memory)
    most = most_traffic(replica, entry.workload, entry.objectives)
    _remember_best(search, entry.workload, replica, name)
    if most is None:
        search.missed = True
        search.rejected.append(Rejected(option=name, reason=_objective_reason(entry, replica)))
        return None
    weights_bytes = model.checkpoint_bytes or math.ceil(
        memory.weights_gib * GIB * settings.tensor_parallel * settings.pipeline_parallel
    )
    return Engine(
        model=model,
        gpu=gpu,
        settings=settings,
        memory=memory,
        replica=replica,
        most=most,
        capped_context=capped,
        weights_bytes=weights_bytes,
        pod=pod_resources(settings, weights_bytes),
    )


def _remember_best(search: Search, workload: Workload, replica: Replica, name: str) -> None:
    alone = traffic_at(replica, workload, 0.02)
    search.best_ttft_ms = min(search.best_ttft_ms, (alone.ttft_p95_ms, name))
    search.best_tpot_ms = min(search.best_tpot_ms, (alone.tpot_p95_ms, name))


def _memory_reason(memory: MemoryEstimate, settings: EngineSettings) -> str:
    return (
        f"does not fit: weights {memory.weights_gib:.1f} GiB of {memory.requested_gib:.1f} GiB per GPU leave "
        f"{max(memory.kv_cache_gib_interval.p10, 0.0):.1f} GiB of KV cache (p10), one request of "
        f"{settings.max_model_len} tokens needs more"
    )


def _objective_reason(entry: ModelEntry, replica: Replica) -> str:
    alone, wanted = traffic_at(replica, entry.workload, 0.02), entry.objectives
    if alone.concurrency_p95 > alone.slots:
        return "the KV cache does not hold one request of the workload"
    return (
        f"misses the objectives even with one request in flight: TTFT p95 {alone.ttft_p95_ms:.0f} ms "
        f"(objective {wanted.ttft_p95_ms:g}), TPOT p95 {alone.tpot_p95_ms:.1f} ms (objective {wanted.tpot_p95_ms:g})"
    )


def replicas_of(entry: ModelEntry, engine: Engine, per_node: int) -> Replicas | str:
    """Return the replica counts, or why there are none; they come in steps of what a node holds."""
    workload, bounds, each = entry.workload, entry.replicas, engine.most.requests_per_s

    def needed(share: float) -> int:
        return math.ceil(math.ceil(workload.requests_per_second * share / each - 1e-9) / per_node) * per_node

    if workload.requests_per_second * workload.peak_factor / each > MOST_REPLICAS:
        count = math.ceil(workload.requests_per_second * workload.peak_factor / each)
        return f"needs {count} replicas at the peak, more than {MOST_REPLICAS}"
    least = 0 if entry.scale_to_zero else max(needed(workload.minimum_share), per_node)
    floor = least if bounds.floor is None else bounds.floor
    expected = max(needed(1.0), floor, 1)
    ceiling = max(needed(workload.peak_factor), expected)
    if bounds.ceiling is not None:
        fewest = max(math.ceil(workload.requests_per_second / each - 1e-9), floor)
        if bounds.ceiling < fewest:
            return f"needs {fewest} replicas for requestsPerSecond, replicas.ceiling allows {bounds.ceiling}"
        floor, expected, ceiling = min(floor, bounds.ceiling), min(expected, bounds.ceiling), bounds.ceiling
    return Replicas(floor=floor, expected=expected, ceiling=ceiling)


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
    judged = [(i, _unusable(engine, i, supply)) for i in supply.catalogue.instances(engine.gpu.name, supply.region)]
    for reason in sorted({reason for _, reason in judged} - {""}):
        types = ", ".join(instance.instance_type for instance, why in judged if why == reason)
        search.rejected.append(Rejected(option=f"{engine.name} on {types}", reason=reason))
    usable = [instance for instance, reason in judged if not reason]
    for instance in usable:
        replicas = replicas_of(entry, engine, instance.gpus // engine.pod.gpus)
        if isinstance(replicas, str):
            search.rejected.append(Rejected(option=f"{engine.name} on {instance.instance_type}", reason=replicas))
            continue
        offers = _offers(engine, instance, usable, supply.region)
        for bought in {len(offers): offers, 1: offers[:1]}.values():
            option = _option(engine, instance, bought, replicas, supply)
            short = quota_shortage(supply.capacity, option.purchases, supply.catalogue)
            if short:
                search.rejected.append(Rejected(option=f"{engine.name} on {instance.instance_type}", reason=short))
            else:
                search.options.append(option)


def _unusable(engine: Engine, instance: Instance, supply: Supply) -> str:
    zones, wanted = zones_of(instance, supply.region, supply.catalogue), supply.capacity.zones
    if instance.gpus < engine.pod.gpus:
        return f"has {instance.gpus} GPUs, {engine.pod.gpus} are needed"
    if instance.gpus % engine.pod.gpus:
        return f"{instance.gpus} GPUs are no multiple of {engine.pod.gpus}"
    if not fits_node(engine.pod, instance):
        return (
            f"pods of {engine.pod.cpu:g} vCPU and {engine.pod.memory_gib:g} GiB do not fit beside the daemonsets in "
            f"{instance.allocatable_cpu:g} vCPU and {instance.allocatable_memory_gib:.1f} GiB"
        )
    if len(zones) < wanted:
        known = ", ".join(zones) or "none"
        return f"sold in {len(zones)} zones of {supply.region} ({known}), capacity.zones asks for {wanted}"
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


def enumerate_options(entry: ModelEntry, capacity: Capacity, region: str, catalogue: Catalogue) -> Search:
    """Return every option of one model and every rejection; BadInput for input that cannot mean anything."""
    model, search = catalogue.model(entry.model), Search()
    supply = Supply(capacity=capacity, region=region, catalogue=catalogue)
    catalogue.region(region)
    check_quotas(capacity, catalogue)
    check_lengths(entry, model)
    widths = (entry.engine.tensor_parallel,) if entry.engine.tensor_parallel else TENSOR_PARALLEL
    for gpu in allowed_gpus(entry, capacity, catalogue):
        instances = catalogue.instances(gpu.name, region)
        if not instances:
            search.rejected.append(Rejected(option=gpu.name, reason=f"not sold in {region}"))
            continue
        most = max(instance.gpus for instance in instances)
        for width in widths:
            if width * (entry.engine.pipeline_parallel or 1) > most:
                search.rejected.append(
                    Rejected(option=option_name(gpu.name, width), reason=f"no machine has more than {most} of them")
                )
                continue
            engine = build_engine(entry, model, gpu, width, search)
            if engine is not None:
                search.placed = True
                place(entry, engine, supply, search)
    search.options.sort(key=lambda option: option.order)
    return search
