"""A model as the engine loads it: which parts, in which type, on this card and with these settings."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from sizing.catalogue.files import engine_rules
from sizing.engine.versions import version_tuple
from sizing.errors import BadInput
from sizing.models.kv_groups import KvGroup
from sizing.models.quantisation.config import for_engine
from sizing.models.spec import ModelSpec


def sparse_on_card(groups: tuple[KvGroup, ...], compute_capability: int) -> tuple[KvGroup, ...]:
    """Return the caches as the sparse attention of a card keeps them (major ``compute_capability``).

    Hopper packs fp8 with scales, 10.x keeps plain fp8, and 12.x knows only the packed form, unasked
    (``_canonicalize_sparse_mla_kv_cache_dtype``).
    """
    if compute_capability not in {10, 12} or not any(group.fp8_token_bytes for group in groups):
        return groups
    return tuple(
        group
        if group.fp8_token_bytes is None
        else replace(group, fp8_token_bytes=None)
        if compute_capability == 10
        else replace(group, fp8_token_bytes=None, head_dim=group.fp8_token_bytes, element_bytes=1)
        for group in groups
    )


@lru_cache(maxsize=1024)
def as_loaded(model: ModelSpec, vllm_version: str, compute_capability: float) -> ModelSpec:
    """Return the model with its quantised weights as that version keeps them on that card.

    Raises BadInput for a quantisation that the version does not load, and for caches that it lays out otherwise.
    """
    if model.least_version and version_tuple(vllm_version) < version_tuple(model.least_version):
        raise BadInput(
            "vllm-version", f"{vllm_version} lays out the caches of {model.architecture} in a way not modelled",
            way_out=f"use {model.least_version} or later",
        )  # fmt: skip
    last = engine_rules("last_version_of")["architectures"].get(model.architecture)
    if last is not None and version_tuple(vllm_version) > version_tuple(last):
        raise BadInput(
            "vllm-version", f"{vllm_version} has no {model.architecture} any more", way_out=f"use {last} or earlier"
        )
    capability = (int(compute_capability), round(compute_capability * 10) % 10)
    loaded = for_engine(model.quantisation, version_tuple(vllm_version), capability)
    caches = sparse_on_card(model.kv_groups, capability[0])
    same = loaded == model.quantisation and caches is model.kv_groups
    return model if same else replace(model, quantisation=loaded, kv_groups=caches)
