"""gguf-parser's rule, for llama.cpp: all weights on the card, f16 cache of every token, windows capped.

Own lines from ``file_estimate__llamacpp.go`` at the commit in VERSION. It reads GGUF files of llama.cpp on one
card, so it applies here to unquantised weights at tensor parallel size 1 (a GGUF file in F16 has the same shapes);
compute buffers are those of another engine and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.memory.peers.case import GIB, Case, Prediction
from benchmarks.peers import Refused

NAME = "gguf-parser's rule"
VERSION = "8dc7a622149dd1e477c86778fc1123fc1c0a316a"
LICENCE = "MIT"
SOURCE = "https://github.com/gpustack/gguf-parser-go"
FILE = "file_estimate__llamacpp.go"
PACKAGES: tuple[str, ...] = ()
FED = "checkpoint bytes of unquantised models on one card, config.json"

ELEMENT_BYTES = 2
LOGICAL_BATCH = 2048
PADDING = 32
QUOTES = (
    "o.LMCLogicalBatchSize = ptr.To(int32(2048))",
    "paddingAlign := uint64(32)",
    "kGQA := akl * a.AttentionHeadCountKV",
    "swas := min(nKV, GGMLPadding(a.AttentionSlidingWindow*nSeq+uint64(*o.LMCLogicalBatchSize), paddingAlign))",
)


def predict(case: Case) -> Prediction:
    """Apply the rule to one sequence of ``max_model_len``; the output head of tied models counts once."""
    if case.weight_bits != 16:
        raise Refused("no GGUF file of this quantisation")
    if case.gpus > 1:
        raise Refused("splits layers over cards, not heads")
    if case.checkpoint_bytes is None:
        raise Refused("bytes of the checkpoint not known")
    if _recurrent(case.text):
        raise Refused("state of linear layers not in config.json terms")
    request = _request_bytes(case.text, case.max_model_len)
    concurrency = None if case.kv_gib is None else case.kv_gib * GIB / request
    return Prediction(
        weights_gib=case.checkpoint_bytes / GIB,
        kv_tokens=None if concurrency is None else concurrency * case.max_model_len,
        max_concurrency=concurrency,
        fits=case.checkpoint_bytes + request <= case.total_gib * GIB,
    )


def _recurrent(text: Mapping[str, Any]) -> bool:
    types = text.get("layer_types") or ()
    return "linear_attention" in types or "hybrid_override_pattern" in text or "mamba_d_state" in text


def _request_bytes(text: Mapping[str, Any], tokens: int) -> float:
    heads = text["num_attention_heads"]
    head_dim = text.get("head_dim") or text["hidden_size"] // heads
    per_token = 2 * (text.get("num_key_value_heads") or heads) * head_dim * ELEMENT_BYTES
    if "kv_lora_rank" in text:
        # it takes the lengths of the expanded key and value; a converted file states one KV head
        per_token = (text["qk_nope_head_dim"] + text["qk_rope_head_dim"] + text["v_head_dim"]) * ELEMENT_BYTES
    layers, context = text["num_hidden_layers"], -(-tokens // PADDING) * PADDING
    types = text.get("layer_types") or ()
    sliding = sum(kind == "sliding_attention" for kind in types)
    window = text.get("sliding_window") or tokens
    seen = min(context, -(-(window + LOGICAL_BATCH) // PADDING) * PADDING)
    return float(per_token * ((layers - sliding) * context + sliding * seen))
