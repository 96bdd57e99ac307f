"""Explanation of a plan: every figure with its rule, inputs and source, and what a reader should be warned of."""

from __future__ import annotations

from sizing.catalogue.files import serving_facts, serving_source
from sizing.inputs import Capacity, ModelEntry
from sizing.performance.constants import throughput_constants
from sizing.performance.queueing import Traffic
from sizing.plan import Figure, ServingPlan, SharedNodes
from sizing.planning.search.options import Option
from sizing.planning.sharing.fleets import Fleet
from sizing.serving.lifecycle import drained_s
from sizing.workload.workload import Workload


def plan_figures(entry: ModelEntry, fleet: Fleet, traffic: Traffic, capacity: Capacity) -> tuple[Figure, ...]:
    """Return the figures of one plan that memory and throughput do not explain themselves."""
    option = fleet.option(entry.name)
    return (
        *_trace(entry.workload),
        *_latency(entry, traffic),
        _replicas(entry, option, shared=bool(fleet.shared)),
        _cost(option, capacity),
        _context(entry, option),
        *_sharing(entry, fleet),
    )


def _trace(workload: Workload) -> tuple[Figure, ...]:
    """Say which figures of the workload a trace told; nothing without one."""
    if workload.trace is None:
        return ()
    told = workload.model_dump(by_alias=True, mode="json", include={*Workload.model_fields} - {"trace"})
    return (
        Figure(
            name="trace",
            value=workload.trace.sentence,
            unit="",
            rule="busiest hour, mean rate of each hour UTC, mean and 95th percentile of lengths, dispersion of counts;"
            " keys that are stated win",
            inputs={key: _shown(told[key]) for key in workload.trace.keys},
            source=workload.trace.file,
        ),
    )


def _shown(value: float | list[float]) -> float | str:
    return ", ".join(f"{part:g}" for part in value) if isinstance(value, list) else value


def _latency(entry: ModelEntry, traffic: Traffic) -> tuple[Figure, Figure]:
    source = f"throughput_constants.json of {throughput_constants()['date']}, errors of sources that were not fitted"
    inputs: dict[str, float | str] = {
        "concurrency": round(traffic.concurrency, 2),
        "concurrency_p95": round(traffic.concurrency_p95, 2),
        "slots": round(traffic.slots, 1),
        "kv_tokens_p95": round(traffic.kv_tokens_p95),
        "kv_tokens": traffic.replica.kv_tokens,
        "requests_per_s_per_replica": round(traffic.requests_per_s, 4),
    }
    return (
        Figure(
            name="ttft_p95_ms",
            value=round(traffic.ttft_p95_ms, 1),
            unit="ms",
            rule="(running step + a prompt at the 95th percentile of lengths / share of time that other prompts leave,"
            " more for bursts and tails) x margin for the error of the model (95th percentile of all deployments)",
            inputs={**inputs, "objective_ms": entry.objectives.ttft_p95_ms, **_lengths(entry.workload)},
            source=source,
        ),
        Figure(
            name="tpot_p95_ms",
            value=round(traffic.tpot_p95_ms, 2),
            unit="ms",
            rule="(step at the 95th percentile of requests in flight + prompts among the steps of a short answer)"
            " x margin for the error of the model (95th percentile of all deployments)",
            inputs={**inputs, "objective_ms": entry.objectives.tpot_p95_ms, **_lengths(entry.workload)},
            source=source,
        ),
    )


def _lengths(workload: Workload) -> dict[str, float | str]:
    return {
        "burstiness": workload.burstiness,
        "input_tokens_p95": workload.input_tokens_p95 or f"exponential around {workload.input_tokens}",
        "output_tokens_p95": workload.output_tokens_p95 or f"exponential around {workload.output_tokens}",
    }


def _replicas(entry: ModelEntry, option: Option, *, shared: bool) -> Figure:
    workload, most = entry.workload, option.engine.most
    return Figure(
        name="replicas",
        value=f"{option.replicas.floor}/{option.replicas.expected}/{option.replicas.ceiling}",
        unit="floor/expected/ceiling",
        rule="ceil(requests per second x (minimumShare, 1, peakFactor) / most requests per second of one replica"
        " + parts for batchShare, not in the floor)"
        + (";" if shared else ", in whole nodes;")
        + ("" if workload.burstiness == 1 else " that rate is another where fewer replicas share the bursts;")
        + " floor 0 with scaleToZero",
        inputs={
            "requests_per_second": workload.requests_per_second,
            "minimum_share": workload.minimum_share,
            "peak_factor": workload.peak_factor,
            "most_requests_per_s_per_replica": round(most.requests_per_s, 4),
            "batch_replicas": round(option.replicas.batch, 4),
            "replicas_per_node": option.per_node,
        },
        source="objectives of the entry, sizing/performance/queueing.py",
    )


def _cost(option: Option, capacity: Capacity) -> Figure:
    return Figure(
        name="usd_per_hour",
        value=round(option.usd_per_hour.expected, 4),
        unit="USD/h expected",
        rule="floor nodes on demand + nodes above by spot share at the spot price + rest on demand, the mean of the"
        " hours of dailyShape; ceiling at the dearest allowed type on demand",
        inputs={
            "on_demand_usd_per_hour": option.offers[0].on_demand_usd_per_hour,
            "spot_usd_per_hour": round(option.offers[0].spot_usd_per_hour, 4),
            "spot_share": capacity.spot_share,
            "nodes_floor": option.split.floor,
            "nodes_expected": option.split.expected,
            "nodes_mean": round(option.split.mean, 4),
            "nodes_ceiling": option.split.ceiling,
        },
        source=serving_source("spot"),
    )


def _sharing(entry: ModelEntry, fleet: Fleet) -> tuple[Figure, ...]:
    """Return the figure that explains shared nodes; empty for a model that has its own."""
    if not fleet.shared:
        return ()
    option, apart, split = fleet.option(entry.name), fleet.apart_usd_per_hour, fleet.split
    return (
        Figure(
            name="shared_with",
            value=", ".join(fleet.beside(entry.name)),
            unit="",
            rule="nodes are shared where that is cheaper than the cheapest own nodes of each; as many nodes as hold the"
            " pods of all in whatever order they come; the floor is divided by the GPUs that run always, what is above"
            " by the GPUs that are added",
            inputs={
                "gpus_of_a_replica": option.engine.pod.gpus,
                "gpus_of_a_node": option.instance.gpus,
                "nodes": f"{split.floor}/{split.expected}/{split.ceiling}",
                "usd_per_hour_of_all": round(fleet.usd_per_hour.expected, 4),
                "usd_per_hour_apart": round(apart.expected, 4),
                "saves_usd_per_hour": round(apart.expected - fleet.usd_per_hour.expected, 4),
            },
            source="sizing/nodes/shared_nodes.py",
        ),
    )


def _context(entry: ModelEntry, option: Option) -> Figure:
    engine, tokens = option.engine, entry.workload.input_tokens + entry.workload.output_tokens
    rule = "the model's own context, which fits" if entry.engine.max_model_len is None else "stated"
    if engine.capped_context:
        times = serving_facts("context")["times_mean_request"]
        rule = f"the model's own context does not fit: next power of two over {times} x the mean request"
    return Figure(
        name="max_model_len",
        value=engine.settings.max_model_len,
        unit="tokens",
        rule=rule,
        inputs={"model_context": engine.model.max_position_embeddings, "mean_request_tokens": tokens},
        source=serving_source("context"),
    )


def warnings_of(entry: ModelEntry, plan: ServingPlan) -> tuple[str, ...]:
    """Return what a reader of the plan should know before deploying it."""
    found = []
    if plan.interrupted_share > serving_facts("drain")["told_share"]:
        found.append(
            f"{plan.name}: a leaving replica cuts {plan.interrupted_share:.1%} of the answers in flight: it drains "
            f"{drained_s(plan.drain)} s, an answer may last {plan.longest_answer.total_s} s; capacity.spotShare 0"
            " drains longer than spot's notice, a smaller longestOutputTokens ends answers sooner"
        )
    if plan.scale_to_zero:
        found.append(f"{plan.name}: scales to zero, the first caller waits about {plan.start_up.total_s:.0f} s")
    elif plan.replicas.floor == 1:
        found.append(
            f"{plan.name}: one replica in quiet hours, its loss is an outage of about {plan.start_up.total_s:.0f} s"
        )
    if not plan.meets:
        found.append(f"{plan.name}: fixed replicas do not meet the objectives of {entry.name}")
    return tuple(found)


def sharing_warning(nodes: SharedNodes) -> str:
    """Return what to know of shared nodes before deploying: who shares, what it saves, what it risks."""
    return (
        f"{nodes.sentence}; a lost or reclaimed node takes replicas of each, and a zone may hold all of one "
        "(capacity.sharePools false keeps them apart)"
    )
