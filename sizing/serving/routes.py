"""Paths of the engine that callers reach: an explicit list by what the model answers with, none that changes it."""

from __future__ import annotations

from sizing.catalogue.files import serving_facts
from sizing.models.spec import ModelSpec


def answers_with(model: ModelSpec) -> str:
    """Return what the model is asked for: transcribe, generate, classify or embed."""
    if model.family == "encoder-decoder":
        return "transcribe"
    if model.generates:
        return "generate"
    return "classify" if model.architecture.endswith("ForSequenceClassification") else "embed"


def paths_of(model: ModelSpec) -> tuple[str, ...]:
    """Return the paths of the engine that are served for this model, sorted."""
    facts = serving_facts("routes")
    return tuple(sorted([*facts["every"], *facts[answers_with(model)]]))
