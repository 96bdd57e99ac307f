"""What is asked of every throughput estimator, and what it may answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from benchmarks.peers import reason_of


@dataclass(frozen=True, kw_only=True)
class Case:
    """One published run as a user would describe it."""

    name: str
    config: Mapping[str, Any]
    gpu: str
    tensor_parallel: int
    expert_parallel: bool
    mixture: bool
    """The model routes tokens to experts."""
    input_tokens: int
    output_tokens: int
    batch: int
    """Requests in flight that the engine's ``max_num_seqs`` lets run at once."""
    max_num_seqs: int
    max_num_batched_tokens: int
    kv_cache_dtype: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What an estimator says of one run, over all GPUs of it; None where it does not speak."""

    output_tok_s: float | None = None
    tpot_ms: float | None = None
    ttft_ms: float | None = None
    output_tok_s_low: float | None = None
    output_tok_s_high: float | None = None
    """Its stated range of the tokens per second, where it states one."""
    refused: str = ""

    def value(self, measure: str) -> float | None:
        """Return the prediction of ``measure`` (output_tok_s, tpot_ms, ttft_ms)."""
        found: float | None = getattr(self, measure)
        return found


def answer(module: ModuleType, case: Case) -> Prediction:
    """Return what the peer predicts; what it raises becomes the reason of a refusal."""
    try:
        prediction: Prediction = module.predict(case)
    except Exception as error:
        return Prediction(refused=reason_of(error))
    return prediction
