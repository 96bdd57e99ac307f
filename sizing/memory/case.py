"""One model with one set of engine settings on one GPU type: what every term of memory is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sizing.catalogue import Gpu
from sizing.catalogue.files import dated_file
from sizing.engine.as_loaded import as_loaded
from sizing.engine.draft_model import check_draft, draft_as_loaded, with_caches
from sizing.engine.multimodal import as_served
from sizing.engine.versions import VersionRules, version_rules, version_tuple
from sizing.memory.kv_cache import CacheLayout, cache_layout
from sizing.models.parallelism import pipeline_stages
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings


@dataclass(frozen=True, kw_only=True)
class Case:
    """One engine on one card, as the estimate sees it."""

    model: ModelSpec
    gpu: Gpu
    engine: EngineSettings
    rules: VersionRules
    total: float
    weights_gib: float | None
    """Weights of one rank where the caller states them."""
    draft: ModelSpec | None = None
    """A model that drafts tokens, as loaded with ``model``, whose KV cache also holds its layers."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Pipeline stages with the layers of each."""
        return pipeline_stages(self.model.num_layers, self.engine.pipeline_parallel)

    @property
    def layout(self) -> CacheLayout:
        """Groups, pages and blocks of the KV cache on one rank."""
        return cache_layout(self.model, self.engine, self.rules)

    def with_engine(self, **changes: Any) -> Case:
        """Return the same case with other engine settings; stated weights shrink as more GPUs share them."""
        engine = replace(self.engine, **changes)
        share = self.engine.tensor_parallel / engine.tensor_parallel
        weights = None if self.weights_gib is None else self.weights_gib * share
        return replace(self, engine=engine, weights_gib=weights)


def case_of(
    model: ModelSpec,
    gpu: Gpu,
    engine: EngineSettings,
    *,
    gpu_total_gib: float | None,
    weights_gib: float | None,
    draft: ModelSpec | None,
) -> Case:
    """Return the case with the model, and its draft, as the engine loads them; BadInput for a draft that cannot serve
    it.
    """
    check_draft(model, draft, engine.speculative_method, engine.num_speculative_tokens, engine.tensor_parallel)
    loaded = as_loaded(model, engine.vllm_version, gpu.compute_capability)
    loaded = as_served(loaded, engine.limit_mm_per_prompt, version_tuple(engine.vllm_version))
    if draft is not None:
        draft = as_loaded(draft_as_loaded(draft, loaded, engine), engine.vllm_version, gpu.compute_capability)
        loaded = with_caches(loaded, draft)
    return Case(
        model=loaded,
        draft=draft,
        gpu=gpu,
        engine=engine,
        rules=version_rules(engine.vllm_version),
        total=gpu_total_gib if gpu_total_gib is not None else gpu.total_gib,
        weights_gib=weights_gib,
    )


def memory_constants() -> Mapping[str, Any]:
    """Return the calibrated constants of the memory estimate: ``catalogue/constants.json``."""
    return dated_file("constants")
