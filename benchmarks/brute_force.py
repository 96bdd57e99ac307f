"""The cheapest plan by trying everything, to hold the planner against.

Nothing of the search is shared: no ``sizing.engines``, ``sizing.options``, ``sizing.pools`` or ``sizing.planner``, no
pruning and no order. Every checkpoint, GPU, parallel size and set of settings is judged by the same memory estimate
and queue, then every instance type with every number of replicas from one up, and the price is added up node by node.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.plan_problems import Problem
from sizing.catalogue import Catalogue, Gpu, Instance
from sizing.engine import resolve_engine
from sizing.errors import BadInput
from sizing.facts import serving_facts
from sizing.inputs import ModelEntry, Objectives
from sizing.memory import estimate_memory
from sizing.model import ModelSpec
from sizing.plan import EngineSettings, MemoryEstimate
from sizing.queue import most_traffic
from sizing.serving import fits_node, pod_resources
from sizing.throughput import replica_of

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
    for cache, batch, count, divided in itertools.product(caches, tokens, counts, split):
        if count <= min(batch, base.max_num_seqs):
            yield replace(
                base, kv_cache_dtype=cache, max_num_batched_tokens=batch, max_num_seqs=count,
                enable_expert_parallel=divided,
            )  # fmt: skip


def _fits(memory: MemoryEstimate, settings: EngineSettings) -> bool:
    least = memory.kv_cache_gib_interval.p10
    return memory.fits and least > 0 and memory.kv_tokens * least / memory.kv_cache_gib >= settings.max_model_len


Rates = tuple[float, float]
"""Requests per second of one replica within the objectives, and of those that may wait."""


def _rates(entry: ModelEntry, model: ModelSpec, gpu: Gpu, settings: EngineSettings) -> Rates:
    memory = estimate_memory(model, gpu, settings)
    if not _fits(memory, settings):
        return 0.0, 0.0
    replica = replica_of(model, gpu, settings, memory)
    found, waiting = most_traffic(replica, entry.workload, entry.objectives), None
    if found and entry.workload.batch_share:
        waiting = most_traffic(replica, entry.workload, Objectives(ttft_p95_ms=600_000, tpot_p95_ms=60_000))
    return found.requests_per_s if found else 0.0, waiting.requests_per_s if waiting else 0.0


def _busy(entry: ModelEntry, share: float, rates: Rates, *, batch: bool = True) -> float:
    """Replicas, with parts, that ``share`` of the busiest hour takes; ``batch`` with those that may wait, all day."""
    workload, (within, waiting) = entry.workload, rates
    taken = workload.requests_per_second * (1 - workload.batch_share) * share / within
    if batch and workload.batch_share:
        shares = workload.daily_shape or (1.0,)
        taken += workload.requests_per_second * workload.batch_share * sum(shares) / len(shares) / waiting
    return taken


def _nodes(busy: float, per_node: int) -> int:
    """Count nodes up from none until they hold the replicas that are ``busy``."""
    nodes = 0
    while nodes * per_node < busy - 1e-9 and nodes * per_node <= MOST:
        nodes += 1
    return nodes


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
    if _busy(entry, workload.peak_factor, rates) > MOST:
        return None
    floor = (
        0 if entry.scale_to_zero else max(_nodes(_busy(entry, workload.minimum_share, rates, batch=False), per_node), 1)
    )
    if stated is not None:
        floor = -(-stated // per_node)
    expected = max(_nodes(_busy(entry, 1.0, rates), per_node), floor, 1)
    ceiling = max(_nodes(_busy(entry, workload.peak_factor, rates), per_node), expected)
    hours = [1.0] if workload.daily_shape is None else workload.daily_shape
    usd = 0.0
    for share in hours:
        running = expected if share == 1 else max(_nodes(_busy(entry, share, rates), per_node), floor)
        usd += floor * price
        for node in range(running - floor):  # the spot share of the nodes above the floor, rounded up
            on_spot = node < (running - floor) * problem.capacity.spot_share
            usd += _spot(instance, problem.region) if on_spot else price
    return usd / len(hours), expected * instance.gpus, ceiling * price


def brute_force(problem: Problem, catalogue: Catalogue) -> list[Best]:
    """Return every machine that serves ``problem`` with its price, in no order."""
    entry, found = problem.entry, []
    models = [catalogue.model(name) for name in {entry.model, *entry.allowed_variants}]
    names = problem.capacity.gpus or [gpu.name for gpu in catalogue.gpus]
    for model, name, (tensor, pipeline) in itertools.product(models, names, PARALLEL):
        gpu, gpus = catalogue.gpu(name), tensor * pipeline
        machines = [one for one in catalogue.instances(name, problem.region) if one.gpus % gpus == 0]
        settings = list(_settings(entry, model, gpu, tensor, pipeline)) if machines else []
        tried = [rates for rates in (_rates(entry, model, gpu, one) for one in settings) if rates[0]]
        for machine in machines if tried else []:
            weights = model.checkpoint_bytes or 0
            fits = fits_node(pod_resources(settings[0], weights), machine)
            if not fits or _zones(machine, problem) < problem.capacity.zones:
                continue
            priced = _priced(problem, machine, machine.gpus // gpus, min(tried, key=partial(_busy, entry, 1.0)))
            if priced is not None:
                usd, bought, ceiling = priced
                found.append(Best(usd, bought, ceiling, f"{name} TP{tensor} PP{pipeline} {machine.instance_type}"))
    return found


def cheapest(found: list[Best], ceiling_usd: float | None = None) -> Best | None:
    """Return the cheapest, of equals the one with fewer GPUs, whose ceiling is not above ``ceiling_usd``."""
    allowed = [one for one in found if ceiling_usd is None or one.ceiling_usd <= ceiling_usd + 1e-9]
    return min(allowed, key=lambda one: (round(one.usd, 6), one.gpus), default=None)
