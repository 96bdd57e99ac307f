"""Textbook rule 1: a model needs its parameters x bytes x 1.2."""

from __future__ import annotations

from benchmarks.memory.peers.case import Case, Prediction
from benchmarks.memory.peers.textbook import LICENCE, PACKAGES, parameter_gib

__all__ = ["LICENCE", "PACKAGES", "predict"]
NAME = "parameters x bytes x 1.2"
VERSION = "-"
SOURCE = "rule of thumb in model guides"
FED = "parameters, bits of a weight; divided by the cards; fits when below the card"
FACTOR = 1.2


def predict(case: Case) -> Prediction:
    """Weights, and a fifth of them for everything else together; it gives no other term."""
    weights = parameter_gib(case)
    return Prediction(weights_gib=weights, fits=FACTOR * weights <= case.total_gib)
