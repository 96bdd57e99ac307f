"""MiniCPM3: latent projections as in MLA, but whole keys and values of every head in the cache.

vLLM (``model_executor/models/minicpm3.py``) runs it as ordinary attention: values are padded to the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.models.blocks.fields import whole
from sizing.models.blocks.parts import Identity, describe, embeddings, full_cache, mlp, shape_of, vector
from sizing.models.families.mla import latent_attention, latent_of
from sizing.models.spec import ModelSpec

ARCHITECTURES = ("MiniCPM3ForCausalLM",)


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a MiniCPM3 model."""
    hidden, heads = whole(config, "hidden_size"), whole(config, "num_attention_heads")
    latent = latent_of({"v_head_dim": max(hidden // heads, 1), **config})  # not stated by the published files
    keys = {"head_dim": latent.nope + latent.rope, "num_key_value_heads": heads}
    shape = shape_of({**config, **keys}, tied_by_default=True)
    layers, width = range(shape.layers), whole(config, "intermediate_size")
    weights = (
        *latent_attention(layers, latent, hidden=shape.hidden, heads=shape.heads),
        vector("layer_norms", 2 * shape.hidden, layers),
        *mlp(layers, hidden=shape.hidden, width=width),
        *embeddings(shape),
    )
    return describe(
        config, replace(shape, kv_heads=shape.heads), identity, family="mla", intermediate_size=width,
        weights=weights, kv_groups=(full_cache(shape),), rotary_dim=latent.rope,
    )  # fmt: skip
