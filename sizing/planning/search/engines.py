"""Every engine that one model entry allows: checkpoint x GPU x tensor and pipeline parallelism x engine settings.

For one checkpoint on one set of GPUs the settings change only the requests per second that a replica carries, not pods,
nodes or prices. So only the best settings are kept: those with the fewest replicas at the busiest hour (on ties the
first; the engine's defaults come first). Three exact bounds end the search early;
``tests/sizing/planning/test_engines.py`` checks them against a search without them:

- one replica carries the peak: no settings need fewer;
- the KV cache does not limit the traffic: a smaller max_num_seqs cannot help, as it only frees memory (same
  max_num_batched_tokens and cache type);
- the weights fill the memory that the engine may use: no batch, cache type or max_num_seqs leaves a cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from sizing.catalogue import Gpu
from sizing.catalogue.files import serving_facts
from sizing.engine.settings import resolve_engine
from sizing.errors import BadInput
from sizing.inputs import ModelEntry
from sizing.memory.estimate import estimate_memory
from sizing.models.spec import ModelSpec
from sizing.performance.queueing import LEAST, Traffic, most_traffic, rate_bound, traffic_at
from sizing.performance.replica import UNBOUNDED_TOKENS, Replica, replica_of, replica_with
from sizing.plan import EngineSettings, MemoryEstimate, PodResources
from sizing.planning.search.parallel_configs import ParallelConfig, ParallelKey, Rejected
from sizing.planning.search.rates import FEWEST, Rates
from sizing.serving.pod import pod_resources
from sizing.units import GIB
from sizing.workload.workload import Objectives

BATCHED_TOKENS = (2048, 8192, 16384)
SEQUENCES = (256, 64)
"""Values of max_num_batched_tokens and max_num_seqs that are tried in addition to the engine's default for the GPU."""
MOST_KEPT = 20_000
_MEMORY: dict[tuple[ModelSpec, str, EngineSettings], tuple[Gpu, MemoryEstimate]] = {}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine that fits and meets the objectives: checkpoint, GPUs, settings, memory and the most traffic."""

    name: str
    model: ModelSpec
    gpu: Gpu
    settings: EngineSettings
    memory: MemoryEstimate
    replica: Replica
    most: Traffic
    rates: Rates
    capped_context: bool
    weights_bytes: int
    pod: PodResources

    @property
    def key(self) -> ParallelKey:
        """Identity of its parallel configuration."""
        return (self.model.name, self.gpu.name, self.settings.tensor_parallel, self.settings.pipeline_parallel)


@dataclass(kw_only=True)
class BestLatency:
    """The best p95 latencies of any engine (ms, name), and whether one fits but misses the objectives."""

    missed: bool = False
    ttft_ms: tuple[float, str] = (math.inf, "")
    tpot_ms: tuple[float, str] = (math.inf, "")

    def add(self, config: ParallelConfig, replica: Replica) -> None:
        """Take in the latencies of a request alone on the replica."""
        alone = traffic_at(replica, config.entry.workload, LEAST)
        self.ttft_ms = min(self.ttft_ms, (alone.ttft_p95_ms, config.name))
        self.tpot_ms = min(self.tpot_ms, (alone.tpot_p95_ms, config.name))


@dataclass(frozen=True, kw_only=True)
class SettingsTrial:
    """One set of settings; without ``replica`` it does not fit, without ``most`` it misses the objectives."""

    settings: EngineSettings
    memory: MemoryEstimate
    objectives: Objectives
    replica: Replica | None = None
    most: Traffic | None = None

    @cached_property
    def rates(self) -> Rates:
        """Rates within the objectives; 0 where they are missed."""
        if self.most is None or self.replica is None:
            return Rates(0.0)
        rate_at = None if self.most.workload.burstiness == 1 else lru_cache(self._rate_at)
        return Rates(self.most.requests_per_s, rate_at)

    def _rate_at(self, share: float) -> float:
        """The rate at a share of the busiest hour; that of the busiest hour where traffic is too low to compute one."""
        if self.most is None or self.replica is None:
            return 0.0
        found = most_traffic(self.replica, self.most.workload.at(share), self.objectives)
        return (found or self.most).requests_per_s

    @cached_property
    def replicas(self) -> float:
        """Fractional replicas at the busiest hour; infinite where the objectives are missed."""
        return self.rates.replicas(self.most.workload) if self.most is not None else math.inf

    @property
    def too_heavy(self) -> bool:
        """Whether the weights alone fill the memory that the engine may use."""
        return self.memory.weights_gib >= self.memory.requested_gib

    @property
    def short_of_cache(self) -> bool:
        """Whether scheduling limits the traffic, not latency, so that a larger KV cache could carry more."""
        if self.most is None or self.replica is None:
            return self.replica is None
        beyond = traffic_at(self.replica, self.most.workload, self.most.concurrency * 1.001)
        return not beyond.schedulable


def ideal_rates(config: ParallelConfig, settings: EngineSettings) -> Rates:
    """Return an upper bound of the rates of this parallel configuration over all settings; 0 where it misses the
    objectives.

    Taken with an unlimited KV cache, the best max_num_batched_tokens and cache type, and the least bursty arrivals of
    any hour: bursty ones (burstiness < 1) split among the replicas of the peak, regular ones (> 1) on one replica.
    """
    smoothest = config.entry.workload
    if smoothest.burstiness < 1:
        smoothest = smoothest.at(smoothest.peak_factor)
    elif smoothest.burstiness > 1:
        smoothest = smoothest.at(FEWEST)
    tried = {(one.kv_cache_dtype, one.max_num_batched_tokens) for one in settings_of(config, settings)}
    rates = []
    for cache, batch in sorted(tried):
        changed = replace(settings, max_num_batched_tokens=batch, kv_cache_dtype=cache)
        replica = replica_with(config.model, config.gpu, changed, kv_tokens=UNBOUNDED_TOKENS)
        rates.append(rate_bound(replica, smoothest, config.entry.objectives))
    return Rates(max(rates))


def first_settings(config: ParallelConfig) -> EngineSettings:
    """Return the engine's defaults for this configuration; BadInput for sizes that model or GPU do not allow."""
    return resolve_engine(
        config.model,
        config.gpu,
        config.entry.engine,
        tensor_parallel=config.tensor_parallel,
        pipeline_parallel=config.pipeline_parallel,
    )


def build_engine(config: ParallelConfig, best_latency: BestLatency) -> Engine | Rejected:
    """Return the engine with the settings that carry the most traffic, or why there is none."""
    try:
        settings, memory, capped = default_settings_that_fit(config)
    except BadInput as error:
        return Rejected(option=config.name, kind="settings", reason=error.line())
    first = try_settings(config, settings, memory)
    best = best_trial(config, first, best_latency)
    if best.most is None or best.replica is None:
        return _why_rejected(config, best)
    settings, memory = best.settings, best.memory
    gpus = settings.tensor_parallel * settings.pipeline_parallel
    weights_bytes = config.model.checkpoint_bytes or math.ceil(memory.weights_gib * GIB * gpus)
    return Engine(
        name=config.name,
        model=config.model,
        gpu=config.gpu,
        settings=settings,
        memory=memory,
        replica=best.replica,
        most=best.most,
        rates=best.rates,
        capped_context=capped,
        weights_bytes=weights_bytes,
        pod=pod_resources(settings, weights_bytes),
    )


def best_trial(config: ParallelConfig, first: SettingsTrial, best_latency: BestLatency) -> SettingsTrial:
    """Return the trial that needs the fewest replicas at the busiest hour; the earliest on ties, and if none serves."""
    workload, best, leader = config.entry.workload, first, first
    for settings in settings_of(config, first.settings):
        if best.most is not None and best.rates.replicas(workload, workload.peak_factor) <= 1:
            break
        same = _batch(settings) == _batch(leader.settings)
        if settings.enable_expert_parallel == leader.settings.enable_expert_parallel and leader.too_heavy:
            continue
        if same and settings != first.settings and not leader.short_of_cache:
            continue
        trial = first if settings == first.settings else try_settings(config, settings)
        leader = leader if same and settings != first.settings else trial
        if trial.replica is not None:
            best_latency.add(config, trial.replica)
            best_latency.missed = best_latency.missed or trial.most is None
        best = min(best, trial, key=lambda one: (one.replicas, one.replica is None))
    return best


def _batch(settings: EngineSettings) -> tuple[int, str, bool]:
    return settings.max_num_batched_tokens, settings.kv_cache_dtype, settings.enable_expert_parallel


def settings_of(config: ParallelConfig, first: EngineSettings) -> Iterator[EngineSettings]:
    """Yield the settings to try, ``first`` first; for each batch and cache type the largest max_num_seqs first."""
    fixed, experts = config.entry.engine, bool(config.model.experts) and first.tensor_parallel > 1
    parallel = [False, True] if experts and fixed.enable_expert_parallel is None else [first.enable_expert_parallel]
    fp8 = config.entry.allow_fp8_kv_cache and fixed.kv_cache_dtype is None and "fp8" in config.gpu.dense_tflops
    least = 0 if config.model.chunks_prompts else first.max_model_len
    others = () if fixed.max_num_batched_tokens else (n for n in BATCHED_TOKENS if n >= least)
    tokens = [first.max_num_batched_tokens, *others]
    sequences = [first.max_num_seqs, *(n for n in (() if fixed.max_num_seqs else SEQUENCES) if n < first.max_num_seqs)]
    for divided in parallel:
        for cache in dict.fromkeys([first.kv_cache_dtype, *(["fp8"] if fp8 else [])]):
            for batch in dict.fromkeys(tokens):
                for count in sequences:
                    if count <= batch:
                        yield replace(
                            first, max_num_batched_tokens=batch, kv_cache_dtype=cache, max_num_seqs=count,
                            enable_expert_parallel=divided,
                        )  # fmt: skip


def try_settings(
    config: ParallelConfig, settings: EngineSettings, memory: MemoryEstimate | None = None
) -> SettingsTrial:
    """Return the trial of these settings: whether they fit, and the most traffic within the objectives."""
    memory = memory or memory_of(config.model, config.gpu, settings)
    if not _holds_one_request(config.model, memory, settings.max_model_len):
        return SettingsTrial(settings=settings, memory=memory, objectives=config.entry.objectives)
    replica = replica_of(config.model, config.gpu, settings, memory)
    most = most_traffic(replica, config.entry.workload, config.entry.objectives)
    return SettingsTrial(
        settings=settings, memory=memory, objectives=config.entry.objectives, replica=replica, most=most
    )


def memory_of(model: ModelSpec, gpu: Gpu, settings: EngineSettings) -> MemoryEstimate:
    """Return the memory of one engine without explanation; cached, as it is the same for every workload."""
    key = (model, gpu.name, settings)
    found = _MEMORY.get(key)
    if found is None or found[0] is not gpu:
        if len(_MEMORY) >= MOST_KEPT:
            _MEMORY.clear()
        found = _MEMORY[key] = (gpu, estimate_memory(model, gpu, settings, explained=False))
    return found[1]


def default_settings_that_fit(config: ParallelConfig) -> tuple[EngineSettings, MemoryEstimate, bool]:
    """Return default settings, memory and whether max_model_len was capped to what the workload needs, so as to fit."""
    entry, model, gpu, settings = config.entry, config.model, config.gpu, first_settings(config)
    memory = memory_of(model, gpu, settings)
    if _holds_one_request(config.model, memory, settings.max_model_len) or entry.engine.max_model_len is not None:
        return settings, memory, False
    capped = replace(settings, max_model_len=_context(entry, model))
    return capped, memory_of(model, gpu, capped), True


def _context(entry: ModelEntry, model: ModelSpec) -> int:
    facts, workload = serving_facts("context"), entry.workload
    wanted: int = max(
        facts["times_mean_request"] * (workload.input_tokens + workload.output_tokens),
        workload.input_tokens + (entry.longest_output_tokens or 0),
        facts["min_tokens"],
    )
    return min(1 << (wanted - 1).bit_length(), model.max_position_embeddings)


def _holds_one_request(model: ModelSpec, memory: MemoryEstimate, max_model_len: int) -> bool:
    if not model.kv_groups:
        return memory.fits_at_p90
    if not memory.fits or memory.kv_cache_gib <= 0:
        return False
    pessimistic = memory.kv_tokens * max(memory.kv_cache_gib_interval.p10, 0.0) / memory.kv_cache_gib
    return pessimistic >= max_model_len


def _why_rejected(config: ParallelConfig, trial: SettingsTrial) -> Rejected:
    """Return why the best settings carry nothing within the objectives."""
    memory, wanted = trial.memory, config.entry.objectives
    if trial.replica is None:
        reason = (
            f"does not fit: weights {memory.weights_gib:.1f} GiB of {memory.requested_gib:.1f} GiB per GPU leave "
            f"{max(memory.kv_cache_gib_interval.p10, 0.0):.1f} GiB of KV cache (p10), one request of "
            f"{trial.settings.max_model_len} tokens needs more"
        )
        return Rejected(option=config.name, kind="does-not-fit", reason=reason)
    alone = traffic_at(trial.replica, config.entry.workload, LEAST)
    if not alone.schedulable:
        reason = "the KV cache does not hold one request of the workload"
        return Rejected(option=config.name, kind="cache-too-small", reason=reason)
    reason = (
        f"misses the objectives even with one request in flight: TTFT p95 {alone.ttft_p95_ms:.0f} ms "
        f"(objective {wanted.ttft_p95_ms:g}), TPOT p95 {alone.tpot_p95_ms:.1f} ms (objective {wanted.tpot_p95_ms:g})"
    )
    return Rejected(option=config.name, kind="misses-objectives", reason=reason)
