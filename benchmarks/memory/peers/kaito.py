"""KAITO's rule: checkpoint x 1.02, a fixed overhead and 5 % of the weights per GPU, the rest is cache.

Own lines from ``pkg/workspace/estimator/nodesestimator/estimator.go`` and ``presets/workspace/generator/generator.go``
(bytes per token) at the commit in VERSION. KAITO launches vLLM at 0.84; here it gets the row's utilisation.
"""

from __future__ import annotations

from benchmarks.memory.peers.case import GIB, Case, Prediction, given_cache, head_bytes_per_token
from benchmarks.peers import Refused

NAME = "KAITO's rule"
VERSION = "056b8280b1a8debf644bc6f4399e913a1f9c7e70"
LICENCE = "Apache-2.0"
SOURCE = "https://github.com/kaito-project/kaito"
FILE = "pkg/workspace/estimator/nodesestimator/estimator.go"
PACKAGES: tuple[str, ...] = ()
FED = "checkpoint bytes, config.json, CUDA total, the row's utilisation in place of its 0.84"

EXPANSION = 1.02
BASE_OVERHEAD_GIB = 2.3
OVERHEAD_OF_WEIGHTS = 0.05
QUOTES = ("weightExpansionFactor = 1.02", "baseOverheadGiB = 2.3", "overheadWeightFactor = 0.05")


def predict(case: Case) -> Prediction:
    """Apply the rule: it fits when the cards are at least as many as the rule asks for."""
    if case.checkpoint_bytes is None:
        raise Refused("bytes of the checkpoint not known")
    model_gib = case.checkpoint_bytes * EXPANSION / GIB
    budget = case.total_gib * case.gpu_memory_utilization
    request = _bytes_per_token(case) * case.max_model_len / case.gpus / GIB
    left = (budget - BASE_OVERHEAD_GIB - request) / (1 + OVERHEAD_OF_WEIGHTS)
    weights = model_gib / case.gpus
    tokens, concurrency = given_cache(case, _bytes_per_token(case) / case.gpus)
    return Prediction(
        weights_gib=weights,
        kv_gib=budget - BASE_OVERHEAD_GIB - weights * (1 + OVERHEAD_OF_WEIGHTS),
        kv_tokens=tokens,
        max_concurrency=concurrency,
        fits=left > 0 and int(model_gib / left) + 1 <= case.gpus,
    )


def _bytes_per_token(case: Case) -> float:
    text = case.text
    if "kv_lora_rank" in text:
        return float((text["kv_lora_rank"] + text.get("qk_rope_head_dim", 0)) * text["num_hidden_layers"] * 2)
    return head_bytes_per_token(case, 2)
