"""Figures of one serving pod: probes, drain, shared memory, requests, disk, start-up phases, scaling thresholds.

Each is a short rule over figures of ``catalogue/serving.json`` (source per block). Seconds, GiB, vCPU.
"""

from __future__ import annotations

import math

from sizing.catalogue import Instance
from sizing.facts import serving_facts
from sizing.inputs import ModelEntry, Objectives, Workload
from sizing.model import ModelSpec
from sizing.plan import Disk, Drain, EngineSettings, PodResources, Probe, Probes, Scaling, StartUp

GIB = 2**30


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step


def start_up(model: ModelSpec, engine: EngineSettings, instance: Instance, weights_bytes: int) -> StartUp:
    """Predict the phases from a bought node to a ready replica; the weights come from S3 through the streamer."""
    facts, image_gb = serving_facts("start_up"), serving_facts("disk")["image_compressed_gb"]
    gpus, gigabytes = engine.tensor_parallel * engine.pipeline_parallel, weights_bytes / 1e9
    line_gb_per_s = instance.network_gbps / 8 * facts["network_share"]
    compile_s = facts["compile_base_s"] + facts["compile_s_per_gb"] * gigabytes
    graphs_s = 0.0 if engine.enforce_eager else facts["graphs_s_per_layer"] * model.num_layers
    return StartUp(
        node_s=float(facts["node_s"]),
        image_pull_s=round(image_gb / min(facts["image_mb_per_s"] / 1e3, line_gb_per_s), 1),
        weights_load_s=round(gigabytes / min(facts["weights_gb_per_s"], line_gb_per_s), 1),
        compile_s=0.0 if engine.enforce_eager else round(compile_s, 1),
        warm_up_s=round(facts["process_s"] + facts["process_s_per_gpu"] * gpus + graphs_s, 1),
    )


def probes(start: StartUp) -> Probes:
    """Return the probe budgets: start-up covers twice the predicted load of the pod."""
    facts = serving_facts("probes")
    failures = math.ceil(facts["startup_load_factor"] * start.pod_s / facts["startup_period_s"])

    def probe(kind: str, count: int) -> Probe:
        return Probe(
            path=facts[f"{kind}_path"],
            period_s=facts[f"{kind}_period_s"],
            timeout_s=facts[f"{kind}_timeout_s"],
            failure_threshold=count,
        )

    return Probes(
        startup=probe("startup", max(failures, facts["startup_min_failures"])),
        liveness=probe("liveness", facts["liveness_failures"]),
        readiness=probe("readiness", facts["readiness_failures"]),
    )


def slowest_answer_s(workload: Workload, tpot_p95_ms: float) -> float:
    """Return the seconds of an answer at the 95th percentile of lengths."""
    usual = workload.output_tokens * serving_facts("drain")["answer_p95_over_mean"]
    return float((workload.output_tokens_p95 or usual) * tpot_p95_ms / 1e3)


def drain(workload: Workload, tpot_p95_ms: float, *, spot: bool) -> Drain:
    """Return how a replica leaves: the slowest answer ends before the grace period, which fits the spot notice."""
    facts = serving_facts("drain")
    most = facts["spot_notice_s"] - facts["spot_reserve_s"] if spot else facts["max_grace_s"]
    wanted = _up(max(slowest_answer_s(workload, tpot_p95_ms), facts["min_shutdown_s"]), facts["round_to_s"])
    shutdown = min(wanted, most - facts["pre_stop_s"] - facts["margin_s"])
    return Drain(
        pre_stop_s=facts["pre_stop_s"],
        shutdown_timeout_s=shutdown,
        grace_period_s=facts["pre_stop_s"] + shutdown + facts["margin_s"],
    )


def pod_resources(engine: EngineSettings, weights_bytes: int) -> PodResources:
    """Return the requests of one pod; memory contains the shared memory, disk holds weights and compile cache."""
    facts, gpus = serving_facts("pod"), engine.tensor_parallel * engine.pipeline_parallel
    shm = serving_facts("shared_memory")["gib_per_gpu"] * gpus
    return PodResources(
        gpus=gpus,
        cpu=facts["cpu_base"] + facts["cpu_per_gpu"] * gpus,
        memory_gib=facts["memory_base_gib"] + facts["memory_per_gpu_gib"] * gpus + shm,
        shm_gib=shm,
        ephemeral_gib=math.ceil(weights_bytes / GIB) + serving_facts("disk")["compile_cache_gib"],
    )


def fits_node(pod: PodResources, instance: Instance) -> bool:
    """Tell whether as many pods as the node has GPUs for fit beside the daemonsets."""
    room, pods = serving_facts("daemonsets"), instance.gpus // pod.gpus
    return (
        pods >= 1
        and pods * pod.cpu <= instance.allocatable_cpu - room["cpu"]
        and pods * pod.memory_gib <= instance.allocatable_memory_gib - room["memory_gib"]
    )


def disk(pod: PodResources, instance: Instance) -> Disk:
    """Return the root volume of a node: system, images, and what its pods may write, with free space."""
    facts = serving_facts("disk")
    used = facts["os_gib"] + facts["images_kept"] * facts["image_unpacked_gib"]
    used += instance.gpus // pod.gpus * pod.ephemeral_gib
    throughput = int(min(max(instance.ebs_baseline_mbps / 8, facts["base_mib_per_s"]), facts["max_mib_per_s"]))
    return Disk(
        size_gib=_up(used / (1 - facts["free_share"]), facts["round_to_gib"]),
        iops=max(facts["base_iops"], math.ceil(throughput / facts["mib_per_s_per_iops"])),
        throughput_mib_per_s=throughput,
    )


def rise_within_lag(workload: Workload, start: StartUp, window_s: int) -> float:
    """Return the share by which traffic may grow until the replica that it asks for is ready.

    It grows from requestsPerSecond to the peak within ``rise_to_peak_s`` at the fastest, or as much in an hour as a
    stated dailyShape does; a peakFactor of 1 adds nothing. The autoscaler asks that much earlier. Planned replicas are
    not raised for it: what whole replicas leave over and the margin for the error of the throughput estimate carry it
    (``make benchmark-scaling``).
    """
    within, shares = float(serving_facts("scaling")["rise_to_peak_s"]), workload.hourly_shares
    steepest = max(after - before for before, after in zip(shares, (*shares[1:], shares[0]), strict=True))
    return max(workload.peak_factor - 1, steepest) * min(scale_up_lag_s(window_s, start) / within, 1.0)


def scale_up_lag_s(window_s: int, start: StartUp) -> float:
    """Return the seconds from more traffic to the replica that carries it: seen, decided, started."""
    facts = serving_facts("scaling")
    return float(window_s / 2 + facts["polling_s"] + facts["scale_up_window_s"] + start.total_s)


def rate_window_s(told_per_s: float) -> int:
    """Return the window over which arrivals are counted: long enough that their number says what the rate is."""
    facts = serving_facts("scaling")
    wanted = _up(facts["rate_arrivals"] / told_per_s, 60)
    return int(min(max(wanted, facts["rate_window_min_s"]), facts["rate_window_max_s"]))


def first_decision(each: float, aside: float, least: int) -> tuple[float, float]:
    """Return the arrivals per second at which the first replica is added, and what is counted then.

    ``aside`` is counted beside arrivals, ``each`` is carried by one of the ``least`` replicas that always run.
    """
    counted = each * max(least, math.ceil(aside / each + 0.5))
    return counted - aside, counted


def late_share(told: float) -> float:
    """Return the share of late calls, among so many, that is more than chance makes of the promised one in twenty."""
    promised = 1 - serving_facts("scaling")["ttft_quantile"]
    chance = math.sqrt(promised * (1 - promised) / told)
    return float(min(promised + serving_facts("scaling")["ttft_deviations"] * chance, 0.5))


def scaling(
    engine: EngineSettings,
    entry: ModelEntry,
    start: StartUp,
    *,
    each: float,
    relief: float = 1.0,
    least: int = 1,
    spare: int = 0,
) -> Scaling:
    """Return the autoscaler's thresholds; the scale-down window covers a cold start and chance in the arrivals.

    The autoscaler adds a replica once a metric is its tolerance above the threshold, so that of the arrivals lies the
    tolerance below what a replica carries, less the rise within the lag: replicas are asked for in time, and let go
    only when the traffic is a tolerance lower. Of the tolerance a tenth is a growth that is a reason to add one, and
    the rest chance: two standard deviations of what a window counts where the first replica is added, which is less
    than at the busiest hour.

    ``each`` are the arrivals per second of one replica; with one more, ``relief`` times as many come, so fewer carry
    fewer each, which is counted as arrivals beside. ``least`` run always, ``spare`` stand by for a loss.
    """
    facts, workload = serving_facts("scaling"), entry.workload
    each, aside = each * relief, workload.arrivals_per_second * (relief - 1)
    aside += spare * each
    arrivals, counted = first_decision(each, aside, least)
    told = min(workload.burstiness, 1.0) * counted**2 / arrivals  # Poisson arrivals that would be as sure
    window_s = rate_window_s(told)
    chance = facts["tolerance_deviations"] / math.sqrt(told * window_s)
    tolerance = min(math.ceil(100 * (facts["tolerance"] + chance)) / 100, 1.0)
    usual = (1 + facts["tolerance"]) / (1 + tolerance)  # the other metrics act where they always do
    chance_s = min(facts["scale_down_arrivals"] / told, facts["scale_down_max_s"])
    down = max(facts["scale_down_min_s"], _up(max(start.total_s, chance_s), 60))
    early = 1 + rise_within_lag(workload, start, window_s)
    waiting = min(facts["waiting_share"] * engine.max_num_seqs, facts["waiting_max"])
    return Scaling(
        requests_per_s=each / early / (1 + tolerance),
        spare_requests_per_s=aside / early,
        rate_window_s=window_s,
        waiting_requests=max(1, int(waiting * usual)),
        kv_cache_usage=facts["kv_cache_usage"] * usual,
        ttft_s=ttft_threshold_s(entry.objectives) * usual,
        ttft_quantile=round(1 - late_share(arrivals * window_s), 3),
        polling_s=facts["polling_s"],
        scale_up_tolerance=tolerance,
        scale_up_window_s=facts["scale_up_window_s"],
        scale_up_pods=facts["scale_up_pods"],
        scale_up_period_s=facts["scale_up_period_s"],
        scale_down_window_s=down,
        scale_down_pods=facts["scale_down_pods"],
        scale_down_period_s=facts["scale_down_period_s"],
        cooldown_s=max(down, _up(facts["cooldown_over_cold_start"] * start.total_s, 60)),
    )


def ttft_threshold_s(objectives: Objectives) -> float:
    """Return the least bound of the engine's TTFT histogram that is not below the objective.

    Within a bucket a quantile is interpolated and may be far above any time that was seen; above its bound it is true.
    """
    wanted = objectives.ttft_p95_ms / 1e3
    return next((bound for bound in serving_facts("scaling")["ttft_buckets_s"] if bound >= wanted), wanted)
