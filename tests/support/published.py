"""Configurations of published models for the tests of families: those of the oracle, and of measured starts."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from benchmarks.memory.rows import Row, read_rows
from sizing.models.from_config import model_from_config
from sizing.models.spec import ModelSpec

TOP = Path(__file__).parents[2]
GIB = 1 << 30


def oracle_config(name: str) -> dict[str, Any]:
    """Return the configuration that the oracle builds ``name`` from."""
    return dict(json.loads((TOP / "tests/oracle/configs" / f"{name}.json").read_text())["config"])


def measured_config(name: str) -> dict[str, Any]:
    """Return the configuration of a model in the measured starts."""
    return dict(json.loads((TOP / "benchmarks/data/configs" / f"{name}.json").read_text())["config"])


@cache
def measured_starts() -> tuple[list[Row], dict[str, int]]:
    """Return the measured starts as cases, and how many were left out for which reason."""
    return read_rows()


def described(config: dict[str, Any], **changes: object) -> ModelSpec:
    """Return the model of ``config`` with changed fields."""
    return model_from_config({**config, **changes}, name="published")


def loaded_gib(model: ModelSpec, ranks: int = 1) -> float:
    """Return what one rank loads, as vLLM prints it."""
    return (model.weight_bytes(tensor_parallel=ranks) + model.rotary_bytes) / GIB


def any_values(keys: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return changes of fields to values of any type, nested ones too."""
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
        max_leaves=4,
    )
    return st.dictionaries(st.sampled_from(keys), value, max_size=3)
