"""Textbook rule 3: 90 % of the card is usable, what the parameters leave of it is cache."""

from __future__ import annotations

from benchmarks.memory.peers.case import Case, Prediction
from benchmarks.memory.peers.textbook import LICENCE, PACKAGES, parameter_gib

__all__ = ["LICENCE", "PACKAGES", "predict"]
NAME = "90 % of the card"
VERSION = "-"
SOURCE = "rule of thumb in model guides"
FED = "parameters, bits of a weight, CUDA total; divided by the cards"
SHARE = 0.9


def predict(case: Case) -> Prediction:
    """Nothing but the weights is counted against the share."""
    weights = parameter_gib(case)
    cache = SHARE * case.total_gib - weights
    return Prediction(weights_gib=weights, kv_gib=cache, fits=cache > 0)
