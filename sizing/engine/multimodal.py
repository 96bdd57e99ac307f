"""A multimodal model served for text alone: ``--limit-mm-per-prompt`` 0 for every kind of item.

vLLM then profiles no encoder and loads neither encoders nor projectors. Source: vLLM 0.32.0 ``config/model.py``
(_supports_multimodal_inputs), ``models/interfaces.py`` (_mark_tower_model); by version in
``catalogue/engine_defaults.json``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from sizing.catalogue.files import engine_rules, serving_facts
from sizing.errors import BadInput
from sizing.models.spec import ModelSpec

OPTION = "limit-mm-per-prompt"


def _rules() -> dict[str, Any]:
    return dict(engine_rules("text_only"))


def has_encoder(model: ModelSpec) -> bool:
    """Return True where the model has a vision or audio encoder that can be left out."""
    return any(group.encoder for group in model.weights)


def check_limit(model: ModelSpec, limit: int | None, version: tuple[int, int, int]) -> None:
    """Raise BadInput where the model has no encoder to limit, cannot do without it, or the version keeps it."""
    if limit is None:
        return
    if not has_encoder(model):
        needs = model.encoder_run is not None
        problem = f"{model.name} {'cannot serve without its encoder' if needs else 'takes text alone already'}"
        raise BadInput(OPTION, problem, way_out="leave it out")
    since = str(_rules()["since"])
    if not limit and version < _numbers(since):
        problem = f"0 does not free the encoder's memory before vLLM {since}"
        raise BadInput(OPTION, problem, way_out=f"use {since} or later")


def as_served(model: ModelSpec, limit: int | None, version: tuple[int, int, int]) -> ModelSpec:
    """Return the model as that version loads it under ``limit`` items a prompt: 0 without its encoders."""
    return _text_only(model, version >= _numbers(str(_rules()["without_towers_since"]))) if limit == 0 else model


@lru_cache(maxsize=256)
def _text_only(model: ModelSpec, without_encoders: bool) -> ModelSpec:
    weights = tuple(group for group in model.weights if not (group.encoder and without_encoders))
    return replace(model, weights=weights, encoder_run=None)


def processor_cache_gib(model: ModelSpec, limit: int | None, version: tuple[int, int, int]) -> float:
    """Return the host memory of each process for processed inputs; 0 for text alone, and before there was a flag."""
    facts = serving_facts("multimodal_cache")
    takes_more = model.encoder_run is not None and limit != 0
    return float(facts["gib"]) if takes_more and version >= _numbers(str(facts["since"])) else 0.0


def limits(limit: int) -> dict[str, int]:
    """Return ``limit`` for every kind of item, as the engine's flag takes it."""
    return dict.fromkeys(sorted(_rules()["items"]), limit)


def _numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = (int(part) for part in version.split("."))
    return major, minor, patch
