"""Figures of one serving pod: probes, drain, shared memory, requests, disk, start-up phases, scaling thresholds.

Each is a short rule over figures of ``catalogue/serving.json`` (source per block). Seconds, GiB, vCPU.
"""

from __future__ import annotations

import math

from sizing.catalogue import Instance
from sizing.facts import serving_facts
from sizing.inputs import Objectives, Workload
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


def scaling(engine: EngineSettings, objectives: Objectives, start: StartUp) -> Scaling:
    """Return the autoscaler's thresholds; the scale-down window covers a cold start."""
    facts = serving_facts("scaling")
    down = max(facts["scale_down_min_s"], _up(start.total_s, 60))
    return Scaling(
        waiting_requests=max(1, min(int(facts["waiting_share"] * engine.max_num_seqs), facts["waiting_max"])),
        kv_cache_usage=facts["kv_cache_usage"],
        ttft_p95_s=objectives.ttft_p95_ms / 1e3,
        polling_s=facts["polling_s"],
        scale_up_window_s=facts["scale_up_window_s"],
        scale_down_window_s=down,
        cooldown_s=max(down, _up(facts["cooldown_over_cold_start"] * start.total_s, 60)),
    )
