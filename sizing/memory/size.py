"""One engine on one GPU type: resolve, estimate, and the document that ``tonnage size --format json`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sizing.catalogue import Gpu
from sizing.catalogue.files import engine_rules
from sizing.engine.settings import explain_engine
from sizing.engine.versions import version_tuple
from sizing.inputs import EngineOverrides
from sizing.memory.estimate import estimate_memory
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings, MemoryEstimate


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """The estimate with everything that led to it. ``sources`` says where each engine setting comes from."""

    model: ModelSpec
    gpu: Gpu
    engine: EngineSettings
    sources: Mapping[str, str]
    memory: MemoryEstimate
    gpu_total_gib: float | None
    weights_gib: float | None
    notes: tuple[str, ...]


def size_model(
    model: ModelSpec,
    gpu: Gpu,
    overrides: EngineOverrides,
    *,
    gpu_total_gib: float | None = None,
    weights_gib: float | None = None,
    draft: ModelSpec | None = None,
) -> Sizing:
    """Estimate the memory of one engine per GPU.

    ``gpu_total_gib`` replaces what CUDA reports, ``weights_gib`` the computed weights of one GPU; ``draft`` drafts
    tokens for ``model``. Raises BadInput; a model that does not fit is an answer (``memory.fits`` false), not an error.
    """
    engine, sources = explain_engine(model, gpu, overrides, gpu_total_gib=gpu_total_gib, draft=draft)
    memory = estimate_memory(model, gpu, engine, gpu_total_gib=gpu_total_gib, weights_gib=weights_gib, draft=draft)
    return Sizing(
        model=model,
        gpu=gpu,
        engine=engine,
        sources=sources,
        memory=memory,
        gpu_total_gib=gpu_total_gib,
        weights_gib=weights_gib,
        notes=_notes(engine),
    )


def _notes(engine: EngineSettings) -> tuple[str, ...]:
    newest = str(engine_rules("newest_known"))
    if version_tuple(engine.vllm_version) > version_tuple(newest):
        return (f"vLLM {engine.vllm_version} is newer than {newest}, the newest known: its rules are assumed",)
    return ()
