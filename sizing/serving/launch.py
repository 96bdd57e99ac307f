"""launch.json: what a serving pod is told by the plan.

The document is the only thing that crosses from the plan into the container (``runtime/`` reads it and imports
nothing of ours). Sizes are bytes or GiB as named, times are seconds. Equal plans give equal bytes.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from sizing.plan import ServingPlan
from sizing.serving.pod import cache_gib

LAUNCH_SCHEMA = 1
"""Version of the document; the launcher refuses any other."""

STREAMER_CHUNK_BYTES = 4 * 2**30
"""Bytes per concurrent read of the weights, as AWS tunes the Run:ai Model Streamer for S3."""

STREAMER_MEMORY_LIMIT_BYTES = 40 * 10**9
"""Host memory that the Run:ai streamer takes by default (its RUNAI_STREAMER_MEMORY_LIMIT); small pods get less."""


def weights_prefix(model: str, revision: str) -> str:
    """Return the key prefix of a model's files in the model store: one revision, one prefix, never overwritten."""
    return f"models/{model}/{revision}"


def _loader(plan: ServingPlan) -> dict[str, object]:
    """Return how the weights are read: concurrency, host memory, ranks.

    Each rank takes as much memory as it may: together half of what the pod has beside shm and caches.
    """
    caches_gib = cache_gib(plan.engine)
    host_bytes = int((plan.resources.memory_gib - plan.resources.shm_gib - caches_gib) * 2**30 / 2)
    return {
        "prefix": weights_prefix(plan.model, plan.revision),
        "bytes": plan.weights_bytes,
        "format": "runai_streamer",
        "chunk_bytes": STREAMER_CHUNK_BYTES,
        "concurrency": max(1, math.ceil(plan.weights_bytes / STREAMER_CHUNK_BYTES)),
        "memory_limit_bytes": max(0, min(STREAMER_MEMORY_LIMIT_BYTES, host_bytes // plan.resources.gpus)),
        "distributed": plan.reads_once,
    }


def launch_document(plan: ServingPlan) -> dict[str, object]:
    """Return the content of launch.json for one model: flags, weights, probes, drain, warm-up, expected memory."""
    memory = plan.memory
    return {
        "schema": LAUNCH_SCHEMA,
        "name": plan.name,
        "model": plan.model,
        "revision": plan.revision,
        "weights": _loader(plan),
        "engine": {"version": plan.engine.vllm_version, "args": list(plan.engine_args)},
        "probes": asdict(plan.probes),
        "drain": asdict(plan.drain),
        "warm_up": {"budget_s": plan.start_up.warm_up_s, "max_model_len": plan.engine.max_model_len},
        "expected_memory_per_gpu": {
            "total_gib": memory.total_gib,
            "requested_gib": memory.requested_gib,
            "weights_gib": memory.weights_gib,
            "peak_activation_gib": memory.peak_activation_gib,
            "non_torch_gib": memory.non_torch_gib,
            "cuda_graph_gib": memory.cuda_graph_gib,
            "kv_cache_gib": memory.kv_cache_gib,
            "kv_tokens": memory.kv_tokens,
        },
    }
