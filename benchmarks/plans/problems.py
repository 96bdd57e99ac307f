"""Random planning problems, and the simulation that judges a planned replica.

The simulation shares no code with ``sizing.performance.queueing``: requests of lognormal or exponential lengths arrive
at the rate that the plan gives one replica, ``benchmarks.simulator`` runs them, and percentiles are counted. The time
of a step is the planner's own roofline, so what is judged is the queue arithmetic and not the roofline (that is what
``make benchmark-throughput`` does).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.simulator import Limits, Request, Step, simulate
from sizing.inputs import Capacity, EngineOverrides, ModelEntry, ReplicaBounds
from sizing.performance.replica import Replica
from sizing.performance.roofline import Roofline
from sizing.plan import LossTolerance
from sizing.units import HOURS_PER_DAY
from sizing.workload.workload import BURSTINESS_LIMITS, Objectives, Workload

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-4B", "Qwen/Qwen3-8B", "Qwen/Qwen3-14B", "Qwen/Qwen3-32B",
    "mistralai/Mistral-7B-Instruct-v0.3", "meta-llama/Llama-3.3-70B-Instruct", "openai/gpt-oss-20b",
    "openai/gpt-oss-120b", "Qwen/Qwen3-30B-A3B-Instruct-2507", "google/gemma-3-27b-it", "deepseek-ai/DeepSeek-R1",
    "Qwen/Qwen3-Next-80B-A3B-Instruct", "zai-org/GLM-4.5-Air",
)  # fmt: skip
VARIANTS = {
    "Qwen/Qwen3-32B": ("Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B-AWQ"),
    "Qwen/Qwen3-8B": ("Qwen/Qwen3-8B-FP8",),
    "meta-llama/Llama-3.3-70B-Instruct": ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic",),
}
"""Other checkpoints of the same weights that half of the problems allow."""
GPUS = ("A10G", "L4", "L40S", "A100-40GB", "A100-80GB", "H100", "H200", "RTX-PRO-6000", "T4")
REGIONS = (*("us-east-1", "us-west-2", "eu-west-1") * 5, "eu-central-1")
"""Priced regions, and one time in sixteen one without prices, whose problems must be refused."""
TOLERANCES: tuple[LossTolerance, ...] = ("none", "none", "replica", "zone")
MOST_TAIL = 3.5
"""Largest 95th percentile over the mean that is drawn."""
SPREAD = 0.6
"""Standard deviation of the logarithm of lognormal lengths."""


@dataclass(frozen=True)
class Problem:
    """One question to the planner."""

    entry: ModelEntry
    capacity: Capacity
    region: str


def _between(chance: random.Random, low: float, high: float) -> float:
    """Return a number whose logarithm is uniform."""
    return round(math.exp(chance.uniform(math.log(low), math.log(high))), 3)


def random_problem(seed: int) -> Problem:
    """Return the problem of ``seed``: the same on every machine."""
    chance = random.Random(f"tonnage {seed}")  # noqa: S311 (a fixed sequence is wanted)
    model = chance.choice(MODELS)
    workload: dict[str, Any] = {
        "requests_per_second": _between(chance, 0.05, 40),
        "input_tokens": int(_between(chance, 50, 8000)),
        "output_tokens": int(_between(chance, 20, 1200)),
        "peak_factor": round(chance.uniform(1, 3), 2),
        "minimum_share": round(chance.uniform(0, 0.6), 2),
        "prefix_share": chance.choice((0.0, 0.0, 0.3, 0.7)),
    }
    _vary(workload, random.Random(f"traffic {seed}"))  # noqa: S311 (a stream of its own leaves the rest as it is)
    objectives = Objectives(ttft_p95_ms=_between(chance, 300, 10_000), tpot_p95_ms=_between(chance, 15, 150))
    bounds = chance.choice((ReplicaBounds(), ReplicaBounds(), ReplicaBounds(floor=chance.randint(0, 3))))
    sleeps = chance.random() < 0.2
    entry = ModelEntry(
        name="served", model=model, workload=Workload(**workload), objectives=objectives, replicas=bounds,
        scale_to_zero=sleeps and not bounds.floor,
        engine=_settings(random.Random(f"settings {seed}")),  # noqa: S311
        allowed_variants=VARIANTS.get(model, ()) if chance.random() < 0.5 else (),
        allow_fp8_kv_cache=chance.random() < 0.3,
    )  # fmt: skip
    gpus = None if chance.random() < 0.5 else tuple(chance.sample(GPUS, chance.randint(2, 5)))
    capacity = Capacity(spot_share=round(chance.random(), 2), zones=chance.choice((1, 1, 2, 3)), gpus=gpus)
    region = chance.choice(REGIONS)
    tolerance = chance.choice(TOLERANCES if capacity.zones > 1 else TOLERANCES[:-1])
    return Problem(entry.model_copy(update={"loss_tolerance": tolerance}), capacity, region)


def _vary(workload: dict[str, Any], chance: random.Random) -> None:
    """State more of the traffic: in every second problem the day, burstiness, the tails; in some what may wait."""
    if chance.random() < 0.5:
        least = workload.pop("minimum_share")
        drawn = [chance.uniform(least, 1) for _ in range(HOURS_PER_DAY)]
        workload["daily_shape"] = tuple(share / max(drawn) for share in drawn)
    if chance.random() < 0.5:
        workload["burstiness"] = _between(chance, *BURSTINESS_LIMITS)
    if chance.random() < 0.3:
        workload["batch_share"] = round(chance.uniform(0.05, 0.9), 2)
    for key in ("input_tokens", "output_tokens"):
        if chance.random() < 0.5:
            workload[f"{key}_p95"] = int(workload[key] * chance.uniform(1, MOST_TAIL))


def _settings(chance: random.Random) -> EngineOverrides:
    """Fix a draft, adapters or eager mode in every fifth problem."""
    if chance.random() >= 0.2:
        return EngineOverrides()
    drafted: dict[str, Any] = {
        "speculative_method": "ngram", "num_speculative_tokens": chance.randint(1, 5),
        "speculative_acceptance": round(chance.uniform(0, 0.8), 2),
    }  # fmt: skip
    adapters = {"max_loras": chance.randint(1, 64), "max_lora_rank": chance.choice((8, 16, 64))}
    return EngineOverrides(**chance.choice((drafted, drafted, adapters, {"enforce_eager": True})))


STACK_GPUS = ("A100-40GB", "A100-80GB", "H100", "H200", "L40S", "L4", "A10G")
"""GPUs of stacks: those that come four or eight to a machine, so that models may gain from sharing it."""


def random_stack(seed: int) -> list[Problem]:
    """Return the two or three problems of one stack: one capacity and region, little traffic, none that may wait."""
    chance = random.Random(f"stack {seed}")  # noqa: S311 (a fixed sequence is wanted)
    capacity = Capacity(
        spot_share=round(chance.random(), 2), zones=chance.choice((1, 2)),
        gpus=tuple(chance.sample(STACK_GPUS, chance.randint(1, 3))),
    )  # fmt: skip
    problems = []
    for number in range(chance.choice((2, 2, 3))):
        entry = random_problem(1000 + 3 * seed + number).entry
        few = {"requests_per_second": _between(chance, 0.05, 5), "batch_share": 0.0}
        workload = entry.workload.model_copy(update=few)
        promise = Objectives(ttft_p95_ms=_between(chance, 1500, 10_000), tpot_p95_ms=_between(chance, 40, 150))
        tolerance = random.Random(f"losses {seed} {number}").choice(("none", "none", "none", "replica"))  # noqa: S311
        stated = {"name": f"m{number}", "workload": workload, "objectives": promise, "loss_tolerance": tolerance}
        named = entry.model_copy(update=stated)
        problems.append(Problem(named, capacity, "us-east-1"))
    return problems


def stepper(roofline: Roofline) -> Callable[[Step], float]:
    """Return the time of a simulated step by the roofline."""

    def seconds(step: Step) -> float:
        mean = step.context_tokens / step.decodes if step.decodes else 0.0
        host = roofline.speed.request_host_s * step.prompts
        return host + roofline.step_s(step.decodes, mean, prompt_tokens=step.prompt_tokens, pairs=step.prompt_pairs)

    return seconds


def limits_of(replica: Replica) -> Limits:
    """Return the limits of one batch of a replica's pipeline, with its share of sequences and cache."""
    load, stages = replica.work, replica.stages
    drafted = load.features.draft_tokens if load.features else 0
    return Limits(
        max_num_seqs=replica.max_num_seqs // stages,
        max_num_batched_tokens=load.chunk_tokens,
        kv_tokens=replica.kv_tokens // stages,
        draft_tokens=drafted,
        acceptance=(load.tokens_per_step - 1) / drafted if drafted else 0.0,
    )


def _length(chance: random.Random, mean: int, p95: int | None, shape: str) -> int:
    """Draw lognormal tokens with this 95th percentile; where none is stated, of the given shape."""
    if p95 is None and shape == "exponential":
        return max(round(chance.expovariate(1 / mean)), 1)
    spread = SPREAD
    if p95 is not None:  # the smaller root of log(p95 / mean) = 1.645 spread - spread**2 / 2
        spread = 1.645 - math.sqrt(max(1.645**2 - 2 * math.log(p95 / mean), 0.0))
    return max(round(chance.lognormvariate(math.log(mean) - spread**2 / 2, spread)), 1)


def lengths_of(chance: random.Random, workload: Workload, longest: int, shape: str) -> tuple[int, int]:
    """Return prompt and answer tokens of one random request that fits ``longest`` tokens."""
    tokens = min(_length(chance, workload.input_tokens, workload.input_tokens_p95, shape), longest - 2)
    output = _length(chance, workload.output_tokens, workload.output_tokens_p95, shape)
    return tokens, max(min(output, longest - tokens), 1)


def requests_of(workload: Workload, rate: float, longest: int, count: int, *, shape: str, seed: int) -> list[Request]:
    """Return ``count`` arrivals at one replica, with random lengths that fit ``longest`` tokens.

    At the gateway all arrive with gamma gaps of the workload's burstiness, and a balancer that knows nothing sends
    them to a replica at random, this one as many as make ``rate`` per second. Gateways do better.
    """
    chance, clock, found = random.Random(f"arrivals {seed}"), 0.0, []  # noqa: S311
    everything = max(workload.arrivals_per_second, rate)
    while len(found) < count:
        clock += chance.gammavariate(workload.burstiness, 1 / (workload.burstiness * everything))
        if everything > rate and chance.random() * everything > rate:
            continue
        tokens, output = lengths_of(chance, workload, longest, shape)
        found.append(Request(clock, tokens, output, int(tokens * workload.prefix_share)))
    return found


@dataclass(frozen=True)
class Seen:
    """Percentiles that one simulation counted, in milliseconds."""

    ttft_p95_ms: float
    tpot_p95_ms: float


def percentile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(math.ceil(share * len(ordered)), len(ordered)) - 1]


def observe(replica: Replica, requests: list[Request]) -> Seen:
    """Return what ``requests`` see on ``replica``, without the first tenth, which meets an empty engine.

    Of a pipeline it is one of the batches in flight, with its share of the cache: give it its share of the requests.
    """
    outcomes = simulate(requests, limits_of(replica), stepper(replica.roofline), request_s=replica.speed.request_s)
    kept = list(zip(requests, outcomes, strict=True))[len(requests) // 10 :]
    gaps = [
        (out.end_s - one.arrival_s - out.first_token_s) / (one.output_tokens - 1)
        for one, out in kept
        if one.output_tokens > 1
    ]
    firsts = [out.first_token_s for _, out in kept]
    return Seen(percentile(firsts, 0.95) * 1e3, percentile(gaps or [0.0], 0.95) * 1e3)
