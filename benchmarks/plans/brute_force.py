"""The cheapest plan by trying everything, to hold the planner against.

Nothing of the search is shared: no ``sizing.planning.search.engines``, ``sizing.planning.search.enumeration``,
``sizing.nodes.pools`` or ``sizing.planning.planner``, no pruning and no order. Every checkpoint, GPU, parallel size and
set of settings is judged by the same memory estimate and queue, then every instance type with every number of replicas
from one up, and the price is added up node by node. For a stack of models every partition into own and shared nodes is
tried too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

from benchmarks.plans.problems import Problem
from sizing.catalogue import Catalogue, Gpu, Instance
from sizing.catalogue.files import serving_facts
from sizing.engine.settings import resolve_engine
from sizing.errors import BadInput
from sizing.inputs import ModelEntry
from sizing.memory.estimate import estimate_memory
from sizing.models.spec import ModelSpec
from sizing.performance.queueing import most_traffic
from sizing.performance.replica import Replica, replica_of
from sizing.plan import EngineSettings, MemoryEstimate
from sizing.serving.pod import fits_node, pod_resources
from sizing.units import HOURS_PER_DAY

PARALLEL = [(t, p) for t in (1, 2, 4, 8) for p in (1, 2, 4) if t * p <= 8]
MOST = 1000


@dataclass(frozen=True)
class Best:
    """The cheapest found: USD per hour expected and at the ceiling, and GPUs bought; USD are those of GPU nodes."""

    usd: float
    gpus: int
    ceiling_usd: float
    name: str


def _settings(entry: ModelEntry, model: ModelSpec, gpu: Gpu, tensor: int, pipeline: int) -> Iterator[EngineSettings]:
    try:
        base = resolve_engine(model, gpu, entry.engine, tensor_parallel=tensor, pipeline_parallel=pipeline)
    except BadInput:
        return
    request = entry.workload.input_tokens + entry.workload.output_tokens
    if not _fits(estimate_memory(model, gpu, base), base):
        facts, capped = serving_facts("context"), 1
        while capped < max(facts["times_mean_request"] * request, facts["min_tokens"]):
            capped *= 2
        base = replace(base, max_model_len=min(capped, model.max_position_embeddings))
    fp8 = entry.allow_fp8_kv_cache and gpu.dense_tflops.get("fp8")
    caches = {base.kv_cache_dtype, "fp8"} if fp8 else {base.kv_cache_dtype}
    split = (False, True) if model.experts and tensor > 1 else (False,)
    tokens, counts = {base.max_num_batched_tokens, 2048, 8192, 16384}, {base.max_num_seqs, 256, 64}
    for kv_type, batch, count, divided in itertools.product(caches, tokens, counts, split):
        if count <= min(batch, base.max_num_seqs):
            yield replace(
                base, kv_cache_dtype=kv_type, max_num_batched_tokens=batch, max_num_seqs=count,
                enable_expert_parallel=divided,
            )  # fmt: skip


def _fits(memory: MemoryEstimate, settings: EngineSettings) -> bool:
    least = memory.kv_cache_gib_interval.p10
    return memory.fits and least > 0 and memory.kv_tokens * least / memory.kv_cache_gib >= settings.max_model_len


class Rates:
    """Requests per second of one replica within the objectives, by the share of the busiest hour."""

    def __init__(self, entry: ModelEntry, replica: Replica) -> None:
        self._entry, self._replica = entry, replica
        self._found: dict[float, float] = {}

    def _most(self, share: float) -> float:
        workload = self._entry.workload
        hour = workload.model_copy(update={"requests_per_second": workload.requests_per_second * share})
        found = most_traffic(self._replica, hour, self._entry.objectives)
        return found.requests_per_s if found else 0.0

    def within(self, share: float) -> float:
        """Requests per second of one replica when ``share`` of the busiest hour's arrive."""
        share = share if self._entry.workload.burstiness != 1 and share else 1.0
        if share not in self._found:
            self._found[share] = self._most(share)
        return self._found[share] or self._found[1.0]


def _rates(entry: ModelEntry, model: ModelSpec, gpu: Gpu, settings: EngineSettings) -> Rates | None:
    memory = estimate_memory(model, gpu, settings)
    if not _fits(memory, settings):
        return None
    rates = Rates(entry, replica_of(model, gpu, settings, memory))
    return rates if rates.within(1.0) else None


def _replicas_at(entry: ModelEntry, share: float, rates: Rates, *, batch: bool = True) -> float:
    """Replicas, not rounded, that ``share`` of the busiest hour takes; ``batch`` with those that may wait, all day."""
    workload = entry.workload
    taken = workload.requests_per_second * (1 - workload.batch_share) * share / rates.within(share)
    if batch and workload.batch_share:
        shares = workload.daily_shape or (1.0,)
        taken += workload.requests_per_second * workload.batch_share * sum(shares) / len(shares) / rates.within(1.0)
    return taken


def _nodes(problem: Problem, replicas: float, per_node: int) -> int:
    """Count nodes up from none until those that the tolerated loss leaves hold ``replicas``."""
    nodes = 0
    while replicas > 1e-9 and _left(problem, nodes) * per_node < replicas - 1e-9 and nodes * per_node <= 3 * MOST:
        nodes += 1
    return nodes


def _left(problem: Problem, nodes: int) -> int:
    """Deal the nodes out to the zones in turn, and take away what may be lost."""
    zones = [len(range(zone, nodes, problem.capacity.zones)) for zone in range(problem.capacity.zones)]
    lost = {"none": 0, "replica": 1, "zone": max(zones)}
    return nodes - lost[problem.entry.loss_tolerance]


def _zones(instance: Instance, problem: Problem) -> int:
    outside = serving_facts("zones")["without_eks_subnets"]
    return len([zone for zone in instance.zone_ids.get(problem.region, ()) if zone not in outside])


def _spot(instance: Instance, region: str) -> float:
    facts, price = serving_facts("spot"), instance.on_demand_usd_per_hour[region]
    seen = instance.spot_price(region)
    if seen is None:
        seen = price * (1 - facts["family_discount"].get(instance.instance_type.split(".")[0], 0.0))
    return float(min(price, seen * (1 + facts["volatility_margin"])))


def _priced(problem: Problem, instance: Instance, per_node: int, rates: Rates) -> tuple[float, int, float] | None:
    """USD per hour expected, GPUs, USD at the ceiling; None where the stated bounds leave no number of replicas."""
    entry, price = problem.entry, instance.on_demand_usd_per_hour[problem.region]
    workload, stated = entry.workload, entry.replicas.floor
    least = max(_nodes(problem, _replicas_at(entry, workload.minimum_share, rates, batch=False), per_node),
                _nodes(problem, 1, per_node))  # fmt: skip
    floor = 0 if entry.scale_to_zero else least
    if stated is not None:
        floor = -(-stated // per_node)
    expected = max(_nodes(problem, _replicas_at(entry, 1.0, rates), per_node), floor, 1)
    ceiling = max(_nodes(problem, _replicas_at(entry, workload.peak_factor, rates), per_node), expected)
    if ceiling * per_node > MOST:
        return None
    hours = [1.0] if workload.daily_shape is None else workload.daily_shape
    usd = 0.0
    for share in hours:
        running = expected if share == 1 else max(_nodes(problem, _replicas_at(entry, share, rates), per_node), floor)
        usd += floor * price
        for node in range(running - floor):  # the spot share of the nodes above the floor, rounded up
            on_spot = node < (running - floor) * problem.capacity.spot_share - 1e-9
            usd += _spot(instance, problem.region) if on_spot else price
    return usd / len(hours), expected * instance.gpus, ceiling * price


@dataclass(frozen=True)
class Way:
    """One way to serve a problem: GPUs of one replica on a machine, and the requests per second that it carries."""

    machine: Instance
    gpus: int
    rates: Rates
    name: str


def ways(problem: Problem, catalogue: Catalogue) -> list[Way]:
    """Return every checkpoint, GPU and parallel size on every machine, each with its best settings."""
    entry, found = problem.entry, []
    models = [catalogue.model(name) for name in {entry.model, *entry.allowed_variants}]
    names = problem.capacity.gpus or [gpu.name for gpu in catalogue.gpus]
    for model, name, (tensor, pipeline) in itertools.product(models, names, PARALLEL):
        gpu, gpus = catalogue.gpu(name), tensor * pipeline
        machines = [one for one in catalogue.instances(name, problem.region) if one.gpus % gpus == 0]
        settings = list(_settings(entry, model, gpu, tensor, pipeline)) if machines else []
        tried = [rates for rates in (_rates(entry, model, gpu, one) for one in settings) if rates]
        for machine in machines if tried else []:
            weights = model.checkpoint_bytes or 0
            fits = fits_node(pod_resources(settings[0], weights), machine)
            if fits and _zones(machine, problem) >= problem.capacity.zones:
                best = min(tried, key=partial(_replicas_at, entry, 1.0))
                found.append(Way(machine, gpus, best, f"{name} TP{tensor} PP{pipeline} {machine.instance_type}"))
    return found


def brute_force(problem: Problem, catalogue: Catalogue) -> list[Best]:
    """Return every machine that serves ``problem`` with its price, in no order."""
    found = []
    for way in ways(problem, catalogue):
        priced = _priced(problem, way.machine, way.machine.gpus // way.gpus, way.rates)
        if priced is not None:
            usd, bought, ceiling = priced
            found.append(Best(usd, bought, ceiling, way.name))
    return found


def cheapest(found: list[Best], ceiling_usd: float | None = None) -> Best | None:
    """Return the cheapest with a ceiling of at most ``ceiling_usd``; on ties the one with fewer GPUs."""
    allowed = [one for one in found if ceiling_usd is None or one.ceiling_usd <= ceiling_usd + 1e-9]
    return min(allowed, key=lambda one: (round(one.usd, 6), one.gpus), default=None)


LEAST_SAVING = 0.01
"""USD per hour: models are not put on shared nodes for less."""


def _partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Yield every way to divide ``items`` into sets."""
    if not items:
        yield []
        return
    for others in range(2 ** (len(items) - 1)):
        block = [items[0], *(item for place, item in enumerate(items[1:]) if others >> place & 1)]
        for rest in _partitions([item for item in items if item not in block]):
            yield [block, *rest]


def _replicas(problem: Problem, rates: Rates) -> list[int] | None:
    """Replicas at the floor, in the busiest and in each hour, not in whole nodes; None where there are too many."""
    entry = problem.entry
    workload, stated = entry.workload, entry.replicas.floor
    if _replicas_at(entry, workload.peak_factor, rates) > MOST:
        return None
    quiet = _nodes(problem, _replicas_at(entry, workload.minimum_share, rates, batch=False), 1)
    floor = 0 if entry.scale_to_zero else max(quiet, 1)
    floor = floor if stated is None else stated
    expected = max(_nodes(problem, _replicas_at(entry, 1.0, rates), 1), floor, 1)
    shares = workload.daily_shape or (1.0,) * HOURS_PER_DAY
    hours = (
        expected if share == 1 else max(_nodes(problem, _replicas_at(entry, share, rates), 1), floor)
        for share in shares
    )
    return [floor, expected, *hours]


def _room_for_all(pods: list[int], nodes: int, node_gpus: int) -> bool:
    """Return whether each of ``pods`` (their GPUs) finds room on ``nodes`` wherever the others are.

    A node without room for ``g`` GPUs has more than ``node_gpus - g`` in use, which in multiples of the narrowest pod
    is that much more; and it is full when each narrower pod is taken for ``g``. Nodes are left when either is short.
    """
    for width in set(pods):
        others = sorted(pods)
        others.remove(width)
        step = min([width, *others])
        in_use, taken = sum(others), sum(max(other, width) for other in others)
        if in_use >= nodes * (node_gpus - width + step) and taken >= nodes * node_gpus:
            return False
    return True


def _shared_nodes(widths: list[int], counts: list[int], node_gpus: int) -> int:
    pods = [width for width, count in zip(widths, counts, strict=True) for _ in range(count)]
    nodes = -(-sum(pods) // node_gpus)
    while not _room_for_all(pods, nodes, node_gpus):
        nodes += 1
    return nodes


def _shared_usd(problems: list[Problem], together: tuple[Way, ...]) -> float:
    """USD per hour expected of ways that are all on one machine type; infinite where one needs too many replicas."""
    machine, region, widths = together[0].machine, problems[0].region, [way.gpus for way in together]
    counts = [_replicas(problem, way.rates) for problem, way in zip(problems, together, strict=True)]
    if any(count is None for count in counts):
        return math.inf
    floor, _, *hours = (_shared_nodes(widths, list(row), machine.gpus) for row in zip(*counts, strict=True))
    price, usd = machine.on_demand_usd_per_hour[region], 0.0
    for running in hours:
        for node in range(running):  # the floor on demand, of those above the spot share rounded up
            on_spot = node >= floor and node - floor < (running - floor) * problems[0].capacity.spot_share - 1e-9
            usd += _spot(machine, region) if on_spot else price
    return usd / len(hours)


def cheapest_stack(problems: list[Problem], catalogue: Catalogue) -> tuple[float, int] | None:
    """USD per hour expected and models on shared nodes of the cheapest plan of all ``problems``, on ties the one
    that shares least; None where one of them has no plan.

    Tries every partition into own and shared nodes, every machine type, and every way of each model on it; those that
    are to survive a loss have their own. Of ways
    with as many GPUs on a machine only that which carries most is tried: it needs no more of anything (no problem of a
    stack has requests that may wait, which would make two rates of one).
    """
    every = [ways(problem, catalogue) for problem in problems]
    best = [cheapest(brute_force(problem, catalogue)) for problem in problems]
    if any(one is None for one in best):
        return None
    alone = [one.usd for one in best if one is not None]
    on: list[dict[str, dict[int, Way]]] = [{} for _ in problems]
    for kinds, found in zip(on, every, strict=True):
        for way in sorted(found, key=lambda way: way.rates.within(1.0)):
            kinds.setdefault(way.machine.instance_type, {})[way.gpus] = way

    @cache
    def block_usd(block: tuple[int, ...]) -> float:
        least = math.inf
        if any(problems[place].entry.loss_tolerance != "none" for place in block):
            return least
        for kind in set.intersection(*(set(on[place]) for place in block)):
            for together in itertools.product(*(on[place][kind].values() for place in block)):
                least = min(least, _shared_usd([problems[place] for place in block], together))
        return least

    results = []
    for partition in _partitions(list(range(len(problems)))):
        usd, shared = 0.0, 0
        for block in partition:
            apart = sum(alone[place] for place in block)
            cost = apart if len(block) == 1 else block_usd(tuple(block))
            usd += cost if len(block) == 1 or cost < apart - LEAST_SAVING else math.inf
            shared += len(block) if len(block) > 1 else 0
        results.append((round(usd, 6), shared))
    return min(results)
