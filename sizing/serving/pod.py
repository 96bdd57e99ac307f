"""What a pod asks of its node: CPU, memory, shared memory, disk; and whether a node has it."""

from __future__ import annotations

import math

from sizing.catalogue import Instance
from sizing.catalogue.files import serving_facts
from sizing.plan import Disk, EngineSettings, PodResources
from sizing.units import GIB, round_up


def pod_resources(engine: EngineSettings, weights_bytes: int) -> PodResources:
    """Return the requests of one pod; memory contains the shared memory, disk holds weights and compile cache."""
    facts, gpus = serving_facts("pod"), engine.tensor_parallel * engine.pipeline_parallel
    shm = serving_facts("shared_memory")["gib_per_gpu"] * gpus
    return PodResources(
        gpus=gpus,
        cpu=facts["cpu_base"] + facts["cpu_per_gpu"] * gpus,
        memory_gib=facts["memory_base_gib"] + facts["memory_per_gpu_gib"] * gpus + shm + cache_gib(engine),
        shm_gib=shm,
        ephemeral_gib=math.ceil(weights_bytes / GIB) + serving_facts("disk")["compile_cache_gib"],
    )


def cache_gib(engine: EngineSettings) -> float:
    """Return the GiB of all caches of processed inputs: each data-parallel rank has a server and a core."""
    return engine.mm_processor_cache_gib * 2 * engine.data_parallel


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
        size_gib=round_up(used / (1 - facts["free_share"]), facts["round_to_gib"]),
        iops=max(facts["base_iops"], math.ceil(throughput / facts["mib_per_s_per_iops"])),
        throughput_mib_per_s=throughput,
    )
