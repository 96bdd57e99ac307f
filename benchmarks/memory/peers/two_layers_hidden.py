"""Textbook rule 2: parameters x bytes, plus 2 x layers x hidden x tokens x 2 bytes of cache."""

from __future__ import annotations

from benchmarks.memory.peers.case import GIB, Case, Prediction, given_cache
from benchmarks.memory.peers.textbook import LICENCE, PACKAGES, parameter_gib

__all__ = ["LICENCE", "PACKAGES", "predict"]
NAME = "+ 2 x layers x hidden x tokens"
VERSION = "-"
SOURCE = "rule of thumb in model guides"
FED = "parameters, layers, hidden size; one request of max_model_len; divided by the cards"


def predict(case: Case) -> Prediction:
    """The rule knows multi-head attention only: every layer keeps a key and a value of the hidden size."""
    weights = parameter_gib(case)
    rate = 2 * case.text["num_hidden_layers"] * case.text["hidden_size"] * 2 / case.gpus
    tokens, concurrency = given_cache(case, rate)
    request = rate * case.max_model_len / GIB
    return Prediction(
        weights_gib=weights,
        kv_tokens=tokens,
        max_concurrency=concurrency,
        fits=weights + request <= case.total_gib,
    )
