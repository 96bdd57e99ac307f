"""What is asked of every estimator, and what it may answer. Sizes are GiB (2**30 bytes) per GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Case:
    """One engine start as a user would describe it, and the two facts that a hub would add."""

    name: str
    model: str
    family: str
    config: Mapping[str, Any]
    gpu: str
    total_gib: float
    """What CUDA reports for the card; every peer gets it in place of its own figure."""
    quantisation: str
    weight_bits: int
    """Bits of one weight of the quantised layers, as the name of the method says."""
    tensor_parallel: int
    pipeline_parallel: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    gpu_memory_utilization: float
    kv_cache_dtype: str
    vllm_version: str | None
    parameters: int | None
    checkpoint_bytes: int | None
    """Bytes of the safetensors files, for peers that read them at a hub."""
    kv_gib: float | None
    """Measured KV cache, given only for the question how many tokens that is."""

    @property
    def gpus(self) -> int:
        """Cards of one engine."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def text(self) -> Mapping[str, Any]:
        """Fields of the language model: the nested part of a multimodal config, else the config itself."""
        nested = self.config.get("text_config")
        return nested if isinstance(nested, Mapping) else self.config


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What an estimator says, per GPU; None where it does not speak of it.

    ``kv_tokens`` and ``max_concurrency`` are those of the measured KV cache ``Case.kv_gib``.
    """

    weights_gib: float | None = None
    activation_gib: float | None = None
    kv_gib: float | None = None
    kv_gib_p10: float | None = None
    kv_gib_p90: float | None = None
    kv_tokens: float | None = None
    max_concurrency: float | None = None
    fits: bool | None = None
    fits_at_p90: bool | None = None
    """Whether it still fits at p90 demand; None for an estimator without a spread."""
    binding: str = ""
    """Which limit binds, in the estimator's words."""
    refused: str = ""

    @property
    def cautious(self) -> bool | None:
        """The verdict at p90 demand where there is a spread, else the only one there is."""
        return self.fits if self.fits_at_p90 is None else self.fits_at_p90


def given_cache(case: Case, bytes_per_token: float) -> tuple[float | None, float | None]:
    """Return tokens and requests of ``max_model_len`` in the measured cache at a constant rate per token and GPU."""
    if case.kv_gib is None or bytes_per_token <= 0:
        return None, None
    tokens = case.kv_gib * GIB / bytes_per_token
    return tokens, tokens / case.max_model_len


def head_bytes_per_token(case: Case, element_bytes: float) -> float:
    """Return 2 x layers x KV heads x head dimension x bytes over all layers and heads: the rule for plain attention."""
    text = case.text
    heads = text["num_attention_heads"]
    head_dim = text.get("head_dim") or text["hidden_size"] // heads
    kv_heads = text.get("num_key_value_heads") or heads
    return float(2 * text["num_hidden_layers"] * kv_heads * head_dim * element_bytes)
