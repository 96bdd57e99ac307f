"""The plan of one model put together from the option that won and the nodes that it got."""

from __future__ import annotations

from sizing.catalogue.files import serving_facts
from sizing.cost.spot_interruptions import spot_figures
from sizing.engine.arguments import engine_args
from sizing.inputs import Capacity, ModelEntry
from sizing.memory.estimate import estimate_memory
from sizing.nodes.loss_tolerance import lost_replicas
from sizing.performance.longest_request import longest_first_token_s, longest_token_ms
from sizing.performance.prediction import estimate_of
from sizing.performance.queueing import Traffic, traffic_for
from sizing.plan import NodePoolPlan, ServingPlan, StartUp, ThroughputEstimate
from sizing.plan.operation import Drain, LongestAnswer, Probes, Scaling
from sizing.planning.explanation import plan_figures
from sizing.planning.operation_figures import Operation, operation_figures
from sizing.planning.scaling_figures import scaling_figures
from sizing.planning.search.options import Option
from sizing.planning.sharing.fleets import Fleet, own_fleet
from sizing.serving.autoscaling import fallback, scaling
from sizing.serving.ingest import ingest
from sizing.serving.lifecycle import drain, interrupted_share, probes, start_up
from sizing.serving.longest_answer import longest_answer, longest_answer_figures, longest_tokens
from sizing.serving.placement import placement
from sizing.serving.rollout import rollout
from sizing.serving.routes import paths_of
from sizing.serving.weights import reads_once
from sizing.units import SECONDS_PER_HOUR


def _thresholds(entry: ModelEntry, option: Option, start: StartUp) -> Scaling:
    engine, expected = option.engine, option.replicas.expected
    return scaling(
        engine.settings,
        entry,
        start,
        each=engine.rates.arrivals(entry.workload),
        scale_out_gain=engine.rates.scale_out_gain,
        least=max(option.replicas.floor, 1),
        spare=lost_replicas(expected, option.per_node, entry.loss_tolerance, len(option.zones)),
    )


def _throughput(entry: ModelEntry, option: Option, traffic: Traffic) -> ThroughputEstimate:
    tokens = entry.workload.output_tokens
    return estimate_of(option.engine.replica, traffic.loop, concurrency=traffic.concurrency, output_tokens=tokens)


def _million_tokens_per_hour(entry: ModelEntry) -> float:
    """Return the output tokens of an hour in millions, on the mean of the day."""
    return entry.workload.mean_requests_per_second * entry.workload.output_tokens * SECONDS_PER_HOUR / 1e6


def _longest_answer(entry: ModelEntry, option: Option, thresholds: Scaling) -> LongestAnswer:
    """Return how long an answer may last behind as many requests as wait before a replica is added."""
    most = option.engine.most
    tokens = longest_tokens(entry, option.engine.model, most.replica.longest)
    return longest_answer(
        entry,
        tokens,
        queue_s=thresholds.waiting_requests / most.requests_per_s,
        first_token_s=longest_first_token_s(most),
        token_ms=longest_token_ms(most, tokens),
    )


def _traffic(entry: ModelEntry, option: Option) -> Traffic:
    rate = entry.workload.prompt_requests_per_second / (option.replicas.expected - option.replicas.batch)
    return traffic_for(option.engine.replica, entry.workload, rate, option.engine.most)


def _operation(
    entry: ModelEntry, fleet: Fleet, start: StartUp, budgets: Probes, *, leave: Drain, pools: int
) -> Operation:
    """Return how one model on ``fleet`` is operated."""
    option = fleet.option(entry.name)
    return Operation(
        rollout=rollout(start, budgets, leave, option.replicas, per_node=option.per_node, surge=fleet.surge),
        placement=placement(
            option.replicas,
            per_node=option.per_node,
            zones=len(option.zones),
            pools=pools,
            tolerance=entry.loss_tolerance,
            shared=bool(fleet.shared),
        ),
        fallback=fallback(option.replicas, scale_to_zero=entry.scale_to_zero),
        ingest=ingest(option.engine.weights_bytes),
    )


def own_plan(entry: ModelEntry, option: Option, capacity: Capacity) -> ServingPlan:
    """Return everything decided for one model on nodes of its own."""
    fleet = own_fleet(entry.name, option)
    return serving_plan(entry, fleet, fleet.pools(entry.name), capacity)


def serving_plan(entry: ModelEntry, fleet: Fleet, pools: tuple[NodePoolPlan, ...], capacity: Capacity) -> ServingPlan:
    """Return everything decided for one model on its fleet, whose pools are ``pools``."""
    option = fleet.option(entry.name)
    engine, settings = option.engine, option.engine.settings
    traffic = _traffic(entry, option)
    start = start_up(engine.model, settings, option.instance, engine.weights_bytes)
    thresholds = _thresholds(entry, option, start)
    spot = any(pool.capacity_type == "spot" for pool in pools)
    longest = _longest_answer(entry, option, thresholds)
    budgets, leave = probes(start), drain(longest.total_s, spot=spot)
    cut = interrupted_share(entry.workload, leave, traffic.tpot_p95_ms, longest.output_tokens)
    operation = _operation(entry, fleet, start, budgets, leave=leave, pools=len(pools))
    return ServingPlan(
        name=entry.name,
        model=engine.model.name,
        revision=engine.model.revision,
        gpu=engine.gpu.name,
        instance_type=option.instance.instance_type,
        instances_per_replica=1,
        replicas_per_instance=option.per_node,
        tensor_parallel=settings.tensor_parallel,
        pipeline_parallel=settings.pipeline_parallel,
        engine=settings,
        engine_args=engine_args(engine.model, settings, entry.longest_output_tokens),
        memory=estimate_memory(engine.model, engine.gpu, settings),
        throughput=_throughput(entry, option, traffic),
        replicas=option.replicas,
        scale_to_zero=entry.scale_to_zero,
        loss_tolerance=entry.loss_tolerance,
        start_up=start,
        probes=budgets,
        drain=leave,
        longest_answer=longest,
        interrupted_share=cut,
        paths=paths_of(engine.model),
        http_keep_alive_s=serving_facts("gateway")["engine_keep_alive_s"],
        scaling=thresholds,
        resources=engine.pod,
        surge=fleet.surge,
        pools=tuple(pool.name for pool in pools),
        usd_per_hour=option.usd_per_hour,
        usd_per_million_output_tokens=option.usd_per_hour.expected / _million_tokens_per_hour(entry),
        weights_bytes=engine.weights_bytes,
        reads_once=reads_once(engine.model, settings),
        ttft_p95_ms=traffic.ttft_p95_ms,
        tpot_p95_ms=traffic.tpot_p95_ms,
        most_requests_per_s_per_replica=engine.most.requests_per_s,
        meets=traffic.meets(entry.objectives),
        figures=(
            *plan_figures(entry, fleet, traffic, capacity),
            *longest_answer_figures(longest, leave, cut),
            *scaling_figures(entry, option, start, thresholds, budgets),
            *spot_figures(pools, option.replicas, option.per_node, start, part=fleet.part(entry.name)),
            *operation_figures(entry, fleet, start, budgets, operation, leave=leave),
        ),
        rollout=operation.rollout,
        placement=operation.placement,
        fallback=operation.fallback,
        ingest=operation.ingest,
        shares_with=fleet.beside(entry.name),
    )
