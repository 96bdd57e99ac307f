"""servcalc: serving capacity of one card; weights from the config, 5 % of the card as workspace.

It models one GPU and the dense families that it lists; the rest it refuses.
"""

from __future__ import annotations

from benchmarks.memory.peers.case import GIB, Case, Prediction
from benchmarks.peers import Refused

NAME = "servcalc"
VERSION = "0.1.0"
LICENCE = "MIT"
SOURCE = "https://github.com/sacom123/servcalc"
PACKAGES = ("servcalc==0.1.0",)
FED = "config.json, CUDA total, the row's utilisation and KV dtype; request of max_model_len"


def predict(case: Case) -> Prediction:
    """Run its estimate for one request of ``max_model_len`` and read the budget from its parameters."""
    from servcalc.estimate import estimate
    from servcalc.gpus import GpuSpec
    from servcalc.modes import DoesNotFitError
    from servcalc.profiles import vllm
    from servcalc.workload import Workload
    from vramcalc.arch import UnsupportedModelError

    if case.gpus > 1:
        raise Refused("one GPU only")
    # bandwidth and speed do not enter the memory; they must only be positive
    gpu = GpuSpec(case.gpu, int(case.total_gib * GIB), 1000.0, 100.0)
    kv_bits = 8 if case.kv_cache_dtype.startswith("fp8") else 16
    profile = vllm(memory_budget_ratio=case.gpu_memory_utilization, kv_bits=kv_bits)
    half = case.max_model_len // 2
    work = Workload(case.max_model_len - half, half, concurrency=(1,))
    try:
        found = estimate(dict(case.config), gpu, workload=work, profile=profile)
    except DoesNotFitError:
        return Prediction(fits=False)
    except UnsupportedModelError as error:
        raise Refused("model type not supported") from error
    budget = gpu.vram_bytes * (profile.memory_budget_ratio - profile.workspace_ratio)
    tokens = None if case.kv_gib is None else case.kv_gib * GIB / found.kv_bytes_per_token
    return Prediction(
        weights_gib=found.weight_bytes / GIB,
        kv_gib=(budget - found.weight_bytes) / GIB,
        kv_tokens=tokens,
        max_concurrency=None if tokens is None else tokens / case.max_model_len,
        fits=found.memory_capacity_seqs >= 1,
    )
