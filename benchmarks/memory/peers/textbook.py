"""Pieces of the textbook rules: parameters x bytes, over the cards."""

from __future__ import annotations

from benchmarks.memory.peers.case import GIB, Case
from benchmarks.peers import Refused

LICENCE = "none: common knowledge"
PACKAGES: tuple[str, ...] = ()


def parameter_gib(case: Case) -> float:
    """Return parameters x bits / 8 in GiB per card; Refused where the number of parameters is not known."""
    if case.parameters is None:
        raise Refused("parameters not known")
    return case.parameters * case.weight_bits / 8 / case.gpus / GIB
