"""AIConfigurator: NVIDIA's configuration search; asked for its KV-cache estimate alone.

Weights, activations, communication and a fixed reserve come from its model classes; the card's capacity is replaced
by what CUDA reports. It knows the cards listed below and refuses models that it has no class for.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.memory.peers.case import GIB, Case, Prediction
from benchmarks.peers import Refused

NAME = "AIConfigurator"
VERSION = "0.12.0"
LICENCE = "Apache-2.0"
SOURCE = "https://github.com/ai-dynamo/aiconfigurator"
PACKAGES = ("aiconfigurator==0.12.0",)
FED = (
    "config.json in a folder, CUDA total as capacity, KV type as the row states it, vLLM rules of its current database"
)

ROOM = 100
"""Cards that hold any model, to read its terms where the real card cannot: they do not depend on the card."""
SYSTEMS = {
    "A100-40GB": "a100_sxm",
    "A100-80GB": "a100_sxm",
    "B200": "b200_sxm",
    "B300": "b300_sxm",
    "GB200": "gb200",
    "H100-80GB": "h100_sxm",
    "H200": "h200_sxm",
    "L40S": "l40s",
    "RTX PRO 6000": "rtx_pro_6000_server",
}


def predict(case: Case) -> Prediction:
    """Read the terms on a card with room for them, then ask for the tokens of the card and of the measured cache."""
    if case.gpu not in SYSTEMS:
        raise Refused("card without data")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(dict(case.config)), encoding="utf-8")
        try:
            roomy = _estimate(folder, case, ROOM * case.total_gib)
        except ValueError as error:
            raise Refused(_reason(error, folder)) from error
        terms, tokens, request_fits = roomy["memory_breakdown"], None, False
        rest_gib = ROOM * case.total_gib * case.gpu_memory_utilization - roomy["total_kv_size_bytes"] / GIB
        cache_gib = case.total_gib * case.gpu_memory_utilization - rest_gib
        if cache_gib > 0:
            found = _estimate(folder, case, case.total_gib)
            request_fits = found["total_kv_size_tokens"] >= case.max_model_len
        if case.kv_gib is not None and case.kv_gib > 0:
            card_gib = (case.kv_gib + rest_gib) / case.gpu_memory_utilization
            tokens = _estimate(folder, case, card_gib)["total_kv_size_tokens"]
    return Prediction(
        weights_gib=terms["weights_bytes"] / GIB,
        activation_gib=terms["activations_bytes"] / GIB,
        kv_gib=cache_gib,
        kv_tokens=tokens,
        max_concurrency=None if tokens is None else tokens / case.max_model_len,
        fits=request_fits,
    )


def _reason(error: Exception, folder: str) -> str:
    text = str(error.__cause__ or error).replace(folder, "the config")
    return "no model class" if "is not supported" in text else text


def _estimate(folder: str, case: Case, capacity_gib: float) -> dict[str, Any]:
    from aiconfigurator_core.sdk.memory import estimate_kv_cache

    return dict(
        estimate_kv_cache(
            folder,
            SYSTEMS[case.gpu],
            "vllm",
            "current",
            max_num_tokens=case.max_num_batched_tokens,
            max_batch_size=case.max_num_seqs,
            memory_fraction_kind="of_total",
            memory_fraction_value=case.gpu_memory_utilization,
            tp_size=case.tensor_parallel,
            pp_size=case.pipeline_parallel,
            moe_tp_size=case.tensor_parallel,
            moe_ep_size=1,
            kvcache_quant_mode="fp8" if case.kv_cache_dtype.startswith("fp8") else None,
            gpu_memory_capacity_bytes_override=int(capacity_gib * GIB),
        )
    )
