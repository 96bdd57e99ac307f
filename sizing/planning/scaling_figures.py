"""What a plan says of losing machines and of growing: the loss of a node and of a zone, the lag, the phases of a start.

Losses are those of the planned traffic on the replicas that are left, until the replacement is ready; latencies are
95th percentiles of ``sizing.performance.queueing``.
"""

from __future__ import annotations

from dataclasses import asdict

from sizing.catalogue.files import serving_facts, serving_source
from sizing.inputs import ModelEntry
from sizing.nodes.loss_tolerance import lost_replicas
from sizing.performance.queueing import traffic_at, traffic_for
from sizing.plan import Figure, LossTolerance, StartUp
from sizing.plan.operation import Probes, Scaling
from sizing.planning.search.options import Option
from sizing.serving.autoscaling import rise_within_lag, scale_up_lag_s


def scaling_figures(
    entry: ModelEntry, option: Option, start: StartUp, scaling: Scaling, probes: Probes
) -> tuple[Figure, ...]:
    """Return the figures of losses, of the rise that spare capacity covers, and of a start."""
    return (
        _loss("loss_of_node", "replica", entry, option, start),
        _loss("loss_of_zone", "zone", entry, option, start),
        _lag(entry, option, start, scaling),
        _thresholds(option, scaling),
        _start(start, scaling, probes),
    )


def _loss(name: str, what: LossTolerance, entry: ModelEntry, option: Option, start: StartUp) -> Figure:
    running, zones = option.replicas.expected, len(option.zones)
    lost = lost_replicas(running, option.per_node, what, zones)
    said, seen = _without(entry, option, running - lost, start)
    return Figure(
        name=name,
        value=said,
        unit="",
        rule="planned traffic / replicas left until the replacement is ready; nodes are spread evenly over the zones",
        inputs={"replicas": running, "lost": lost, "zones": zones, "lossTolerance": entry.loss_tolerance, **seen},
        source="sizing/nodes/loss_tolerance.py, sizing/performance/queueing.py",
    )


def _without(entry: ModelEntry, option: Option, left: int, start: StartUp) -> tuple[str, dict[str, float | str]]:
    """Return what callers see on the replicas that are left, in words and as figures."""
    if left <= option.replicas.batch:
        return f"no replica is left: an outage of about {start.total_s:.0f} s", {"met": "no"}
    workload, most, replica = entry.workload, option.engine.most, option.engine.replica
    rate = workload.prompt_requests_per_second / (left - option.replicas.batch)
    words = f"{left} of {option.replicas.expected} replicas left with {rate:.3g} requests/s each"
    seen: dict[str, float | str] = {"requests_per_s_per_replica": round(rate, 4)}
    if rate > most.requests_per_s:
        most = traffic_at(replica, workload, replica.slots(float(workload.input_tokens + workload.output_tokens)))
    if rate > most.requests_per_s:
        return f"{words}, which carry {most.requests_per_s:.3g}: a queue grows, missed", {**seen, "met": "no"}
    state = traffic_for(replica, workload, rate, most)
    met = state.meets(entry.objectives)
    seen |= {"ttft_p95_ms": round(state.ttft_p95_ms, 1), "tpot_p95_ms": round(state.tpot_p95_ms, 2)}
    latency = f"TTFT p95 {state.ttft_p95_ms:.0f} ms, TPOT p95 {state.tpot_p95_ms:.1f} ms"
    return f"{words}: {latency}, {'met' if met else 'missed'}", {**seen, "met": "yes" if met else "no"}


def _lag(entry: ModelEntry, option: Option, start: StartUp, scaling: Scaling) -> Figure:
    workload, within = entry.workload, serving_facts("scaling")["rise_to_peak_s"]
    parts = option.engine.rates.replicas(workload)
    return Figure(
        name="scale_up_lag_s",
        value=round(scale_up_lag_s(scaling.rate_window_s, start), 1),
        unit="s",
        rule="half the window of arrivals + polling + scale-up window + start; within it traffic rises by (peakFactor"
        f" - 1, or the steepest hour of dailyShape) x lag / {within} s, so much earlier is a replica asked for; until"
        " it is ready the rise is carried by what whole replicas leave over, then by the margin for the error of the"
        " throughput estimate",
        inputs={
            "rise_share": round(rise_within_lag(workload, start, scaling.rate_window_s), 4),
            "left_over_share": round(option.replicas.expected / parts - 1, 4),
            "peak_factor": workload.peak_factor,
        },
        source=serving_source("scaling"),
    )


def _thresholds(option: Option, scaling: Scaling) -> Figure:
    return Figure(
        name="scaling",
        value=f"a replica for each {scaling.requests_per_s:.4g} requests/s",
        unit="",
        rule="requests per second of one replica / (1 + rise within the lag) / (1 + tolerance of the autoscaler);"
        " windows and tolerance hold chance in the arrivals where the fewest replicas run; beside it the queue, the"
        " cache and TTFT add replicas where the traffic is not the planned one",
        inputs={
            "most_requests_per_s_per_replica": round(option.engine.most.requests_per_s, 4),
            "batch_replicas": round(option.replicas.batch, 4),
            "spare_requests_per_s": round(scaling.spare_requests_per_s, 4),
            "rate_window_s": scaling.rate_window_s,
            "waiting_requests": scaling.waiting_requests,
            "kv_cache_usage": scaling.kv_cache_usage,
            "ttft_s": scaling.ttft_s,
            "ttft_quantile": scaling.ttft_quantile,
            "scale_up_tolerance": scaling.scale_up_tolerance,
            "scale_up_window_s": scaling.scale_up_window_s,
            "scale_down_window_s": scaling.scale_down_window_s,
        },
        source=serving_source("scaling"),
    )


def _start(start: StartUp, scaling: Scaling, probes: Probes) -> Figure:
    phases = f"node {start.node_s:.0f} + image {start.image_pull_s:.0f} + weights {start.weights_load_s:.0f}"
    return Figure(
        name="start_up_s",
        value=f"{start.total_s:.0f} = {phases} + compile {start.compile_s:.0f} + warm-up {start.warm_up_s:.0f}",
        unit="s",
        rule="sum of the phases; the start-up probe waits twice weights, compile and warm-up, a replica is let go"
        " after a window that covers the sum",
        inputs={
            **asdict(start),
            "startup_probe_s": probes.startup.period_s * probes.startup.failure_threshold,
            "scale_down_window_s": scaling.scale_down_window_s,
        },
        source=serving_source("start_up"),
    )
