"""What a pick costs and whether it keeps the objectives: the same bill and the same simulation for everybody.

One replica of the pick gets its share of the traffic in ``benchmarks.simulator``: Poisson arrivals, lengths exponential
and lognormal, scaled to the stated rate and means; three draws of each are averaged, the worse shape counts. Memory is
our estimate. The bill is whole GPU nodes on demand; what else the cluster costs is the same for all and left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from benchmarks.plans.peers.question import Pick
from benchmarks.plans.problems import Seen, observe, requests_of
from benchmarks.plans.workloads import CAPACITY, REGION, PlanCase, plan_catalogue
from benchmarks.simulator import Request
from sizing.catalogue import Instance
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.nodes.pools import fleet_usd_per_hour, split_nodes
from sizing.performance.replica import Replica, replica_of
from sizing.performance.spread import spread_of
from sizing.plan import Replicas, ServingPlan
from sizing.planning.search.engines import default_settings_that_fit
from sizing.planning.search.parallel_configs import ParallelConfig
from sizing.units import HOURS_PER_MONTH
from sizing.workload.workload import Workload

SHAPES, SEEDS = ("exponential", "lognormal"), (0, 1, 2)
"""Lengths, and draws of each: near saturation one draw of thousands of requests is still a matter of luck."""
QUICK = (0,)
MOST_REPLICAS = 256
TTFT_OBJECTIVES, STAYS = 30, 20
"""Length of a simulation in TTFT objectives, and in times of a mean answer at the TPOT objective: enough for too much
traffic to show in the waiting time."""
REQUESTS, ALONE = (3000, 40_000), 300
"""Fewest and most requests of a simulation, and those of one without company."""
PLANNED, OWN, SIMULATED = "planned", "its own figure", "fewest in the simulation"


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A pick as it would be bought, and what its requests see."""

    pick: Pick
    instance_type: str
    gpus_per_node: int
    nodes: int
    replicas: int
    replicas_by: str
    usd_per_hour: float
    seen: Seen
    ttft_share: float
    """Simulated 95th percentile over the objective."""
    tpot_share: float
    slow_share: float
    """The larger of both at the p90 of our own error of time: how it fares if the engine is that much slower."""

    @property
    def gpus(self) -> int:
        """GPUs bought."""
        return self.nodes * self.gpus_per_node

    @property
    def meets(self) -> bool:
        """Return whether the simulation met both objectives."""
        return max(self.ttft_share, self.tpot_share) <= 1.0

    @property
    def meets_when_slow(self) -> bool:
        """Return whether it meets them at the p90 of our own error too."""
        return self.slow_share <= 1.0

    @property
    def usd_per_month(self) -> float:
        """USD for a month of 730 hours."""
        return self.usd_per_hour * HOURS_PER_MONTH

    @property
    def order(self) -> tuple[bool, float, float, str]:
        """What meets first, then the cheapest, then what misses by least."""
        return not self.meets, self.usd_per_hour, max(self.ttft_share, self.tpot_share), self.instance_type


def engine_of(case: PlanCase, pick: Pick) -> Replica | str:
    """Return one replica of the pick with vLLM's defaults where it states nothing, or why it does not start."""
    catalogue = plan_catalogue()
    entry = case.entry.model_copy(update={"engine": EngineOverrides(**pick.settings)})
    shape = ParallelConfig(
        entry=entry,
        model=catalogue.model(pick.checkpoint),
        gpu=catalogue.gpu(pick.gpu),
        tensor_parallel=pick.tensor_parallel,
        pipeline_parallel=pick.pipeline_parallel,
    )
    try:
        settings, memory, _ = default_settings_that_fit(shape)
    except BadInput as error:
        return error.line()
    if not memory.fits:
        room = f"{memory.weights_gib:.1f} GiB of weights in {memory.requested_gib:.1f} GiB per GPU"
        return f"does not start: {room} leave no room for a request of {settings.max_model_len} tokens"
    return replica_of(shape.model, shape.gpu, settings, memory)


def machines(pick: Pick) -> list[Instance]:
    """Return the instance types that hold whole replicas of the pick, or the one that it names."""
    gpus = pick.tensor_parallel * pick.pipeline_parallel
    sold = plan_catalogue().instances(pick.gpu, REGION)
    return [one for one in sold if one.gpus % gpus == 0 and pick.instance_type in {"", one.instance_type}]


def bought(pick: Pick, replicas: int) -> tuple[float, Instance, int]:
    """Return the cheapest way to buy ``replicas``: USD per hour, instance type, nodes."""

    def price(instance: Instance) -> tuple[float, int]:
        per_node = instance.gpus // (pick.tensor_parallel * pick.pipeline_parallel)
        split = split_nodes(Replicas(floor=0, expected=replicas, ceiling=replicas), per_node, CAPACITY.spot_share)
        cost = fleet_usd_per_hour(split, (instance.offer(REGION),))
        return cost.expected, split.expected

    usd, name = min((price(one)[0], one.instance_type) for one in machines(pick))
    instance = plan_catalogue().instance(name)
    return usd, instance, price(instance)[1]


def simulated(case: PlanCase, replica: Replica, replicas: int, seeds: tuple[int, ...] = SEEDS) -> Seen:
    """Return what requests see on one of ``replicas``: means over the draws, the worse of the shapes of lengths."""
    workload, wanted = case.entry.workload, case.entry.objectives
    rate = workload.requests_per_second / replicas
    lasts_s = max(TTFT_OBJECTIVES * wanted.ttft_p95_ms, STAYS * workload.output_tokens * wanted.tpot_p95_ms) / 1e3
    count = min(max(REQUESTS[0], math.ceil(rate * lasts_s)), REQUESTS[1])
    shapes = SHAPES if seeds == SEEDS else SHAPES[:1]
    found = [[_observed(case, replica, rate, count, shape, seed) for seed in seeds] for shape in shapes]
    return Seen(
        max(statistics.fmean(seen.ttft_p95_ms for seen in draws) for draws in found),
        max(statistics.fmean(seen.tpot_p95_ms for seen in draws) for draws in found),
    )


def idle(case: PlanCase, replica: Replica) -> Seen:
    """Return the latencies of requests that are alone."""
    return _observed(case, replica, case.entry.workload.requests_per_second / MOST_REPLICAS, ALONE, SHAPES[0], 0)


@lru_cache(maxsize=4096)
def _observed(case: PlanCase, replica: Replica, rate: float, count: int, shape: str, seed: int) -> Seen:  # noqa: PLR0917
    workload, each = case.entry.workload, rate / replica.stages
    drawn = requests_of(workload, each, replica.longest, count, shape=shape, seed=seed)
    return observe(replica, as_stated(drawn, workload, each, replica.longest))


def as_stated(drawn: Sequence[Request], workload: Workload, rate: float, longest: int) -> list[Request]:
    """Return the drawn requests scaled to exactly the stated rate and mean lengths.

    Near saturation two percent more traffic by chance would change the answer. Nothing becomes longer than ``longest``.
    """
    time = len(drawn) / rate / drawn[-1].arrival_s
    prompt = workload.input_tokens * len(drawn) / sum(one.input_tokens for one in drawn)
    answer = workload.output_tokens * len(drawn) / sum(one.output_tokens for one in drawn)
    scaled = []
    for one in drawn:
        tokens = max(1, min(round(one.input_tokens * prompt), longest - 2))
        output = max(1, min(round(one.output_tokens * answer), longest - tokens))
        scaled.append(Request(one.arrival_s * time, tokens, output, int(tokens * workload.prefix_share)))
    return scaled


def fewest(case: PlanCase, replica: Replica, most: int = MOST_REPLICAS) -> int | None:
    """Return the fewest replicas with which the simulation meets both objectives; None where ``most`` do not."""

    def enough(count: int, seeds: tuple[int, ...] = QUICK) -> bool:
        return max(_shares(case, simulated(case, replica, count, seeds))) <= 1.0

    low, high = 0, 1
    while not enough(min(high, most)):
        if high >= most:
            return None
        low, high = high, high * 2
    high = min(high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return next((count for count in range(max(high - 1, 1), most + 1) if enough(count, SEEDS)), None)


def _shares(case: PlanCase, seen: Seen) -> tuple[float, float]:
    wanted = case.entry.objectives
    return seen.ttft_p95_ms / wanted.ttft_p95_ms, seen.tpot_p95_ms / wanted.tpot_p95_ms


def judge(case: PlanCase, pick: Pick, replica: Replica, replicas: int, replicas_by: str) -> Fleet:
    """Buy ``replicas`` of the pick and simulate one."""
    usd, instance, nodes = bought(pick, replicas)
    seen, spread = simulated(case, replica, replicas), spread_of(replica.work)
    ttft, tpot = _shares(case, seen)
    return Fleet(
        pick=replace(pick, instance_type=instance.instance_type),
        instance_type=instance.instance_type,
        gpus_per_node=instance.gpus,
        nodes=nodes,
        replicas=replicas,
        replicas_by=replicas_by,
        usd_per_hour=usd,
        seen=seen,
        ttft_share=ttft,
        tpot_share=tpot,
        slow_share=max(ttft * spread["ttft_ms"]["p90"], tpot * spread["tpot_ms"]["p90"]),
    )


def judge_plan(case: PlanCase, plan: ServingPlan) -> tuple[Fleet, Fleet | None]:
    """Return our plan as a fleet, and its engine with as few replicas as the simulation allows, None without any."""
    catalogue = plan_catalogue()
    replica = replica_of(catalogue.model(plan.model), catalogue.gpu(plan.gpu), plan.engine, plan.memory)
    pick = Pick(
        checkpoint=plan.model,
        gpu=plan.gpu,
        tensor_parallel=plan.tensor_parallel,
        pipeline_parallel=plan.pipeline_parallel,
        instance_type=plan.instance_type,
    )
    count = fewest(case, replica)
    least = None if count is None else judge(case, pick, replica, count, SIMULATED)
    return judge(case, pick, replica, plan.replicas.expected, PLANNED), least


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What became of one peer's picks: the best of them as a fleet, or why there is none."""

    fleet: Fleet | None = None
    reason: str = ""
    passed_over: Fleet | None = None
    """Its cheapest pick by its own figures, where that misses the objectives and a more expensive one meets them."""


def standing(case: PlanCase, picks: Sequence[Pick]) -> Standing:
    """Return the best of a peer's picks: one that meets the objectives before one that misses, then the cheaper.

    Replicas are the peer's own where it has a figure, else the fewest with which the simulation meets the objectives.
    Picks are tried from the cheapest, and no further than one that meets costs.
    """
    engines = [(pick, engine_of(case, pick)) for pick in picks]
    able = [(pick, engine) for pick, engine in engines if isinstance(engine, Replica) and machines(pick)]
    found: list[Fleet] = []
    reasons = [engine for _, engine in engines if isinstance(engine, str)]
    for pick, engine in sorted(able, key=lambda pair: bought(pair[0], pair[0].replicas or 1)[0]):
        limit = min((fleet.usd_per_hour for fleet in found if fleet.meets), default=math.inf)
        fleet = _judged(case, pick, engine, limit)
        if isinstance(fleet, Fleet):
            found.append(fleet)
        else:
            reasons.append(fleet)
    if not found:
        return Standing(reason=(reasons or ["no machine of the region holds it"])[-1])
    best, first = min(found, key=lambda fleet: fleet.order), found[0]
    return Standing(fleet=best, passed_over=first if best.meets and not first.meets else None)


def _judged(case: PlanCase, pick: Pick, replica: Replica, limit_usd: float) -> Fleet | str:
    """Return the fleet of one pick unless it costs ``limit_usd`` or more per hour, or why there is none."""
    if bought(pick, pick.replicas or 1)[0] >= limit_usd:
        return "dearer than another pick of the same planner that meets the objectives"
    if pick.replicas is not None:
        return judge(case, pick, replica, pick.replicas, OWN)
    alone = idle(case, replica)
    if max(_shares(case, alone)) > 1.0:
        return f"{pick.gpu} misses with any replicas: TTFT p95 {alone.ttft_p95_ms:.0f}, TPOT {alone.tpot_p95_ms:.0f} ms"
    affordable = [count for count in range(1, MOST_REPLICAS + 1) if bought(pick, count)[0] < limit_usd]
    count = fewest(case, replica, affordable[-1])
    if count is None:
        return f"{pick.gpu} misses with {affordable[-1]} replicas"
    return judge(case, pick, replica, count, SIMULATED)
