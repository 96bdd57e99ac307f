"""LongCat-Flash: two latent attentions and two MLPs in every layer, beside experts of which some do nothing.

Source: vLLM 0.32.0, ``model_executor/models/longcat_flash.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

from sizing.models.blocks.fields import count, whole
from sizing.models.blocks.mixture import chosen_experts
from sizing.models.blocks.parts import LAYER, Identity, describe, embeddings, experts, mlp, vector
from sizing.models.families.mla import absorbed, latent_attention, latent_caches, latent_of, latent_shape
from sizing.models.quantisation.config import quantisation_of
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("LongcatFlashForCausalLM",)
HALVES = 2
"""Attentions and MLPs of one layer."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a LongCat-Flash model."""
    stated = {**config, "num_hidden_layers": config.get("num_layers", config.get("num_hidden_layers"))}
    shape, latent = latent_shape(stated), latent_of(stated)
    layers = range(shape.layers)
    dense = whole(stated, "ffn_hidden_size", whole(stated, "intermediate_size", 1))
    width = whole(stated, "expert_ffn_hidden_size", whole(stated, "moe_intermediate_size", 1))
    number, idle = whole(stated, "n_routed_experts"), count(stated, "zero_expert_num")
    weights: list[WeightGroup] = []
    for half in range(HALVES):
        path = f"{LAYER}self_attn.{half}."
        weights += latent_attention(layers, latent, hidden=shape.hidden, heads=shape.heads, path=path)
        weights += mlp(layers, hidden=shape.hidden, width=dense, path=f"{LAYER}mlps.{half}.")
        weights += absorbed(quantisation_of(stated), latent, shape.heads, layers, path=path)
    weights += (
        vector("layer_norms", 2 * HALVES * shape.hidden, layers),
        *experts(layers, hidden=shape.hidden, width=width, count=number, router_bytes=4),
        vector("idle_router", idle * shape.hidden, layers, element_bytes=4),
        vector("score_bias", number + idle, layers, element_bytes=4),
        *embeddings(shape),
    )
    twice = tuple(layer for layer in layers for _ in range(HALVES))
    return describe(
        stated, shape, identity, family="mla", intermediate_size=width, weights=weights,
        kv_groups=latent_caches(latent, twice, None), experts=number,
        experts_per_token=chosen_experts(stated, number, "moe_topk"), rotary_dim=latent.rope,
    )  # fmt: skip
