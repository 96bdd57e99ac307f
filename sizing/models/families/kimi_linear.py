"""Kimi-Linear: Kimi Delta Attention with latent attention between, and experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, whole
from sizing.models.blocks.layer_kinds import indices
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights
from sizing.models.blocks.parts import Identity, Shape, describe, embeddings, vector
from sizing.models.blocks.recurrent import Kda, kda, kda_state
from sizing.models.families.mla import latent_attention, latent_caches, latent_of, latent_shape
from sizing.models.spec import ModelSpec

ARCHITECTURES = ("KimiLinearForCausalLM",)
LEAST_EXPERT_WIDTH = 256
"""vLLM pads the part of an expert on one rank to this many columns."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a decoder of Kimi Delta Attention and latent attention."""
    shape = latent_shape({"max_position_embeddings": config.get("model_max_length"), **config})
    latent, mixture = latent_of(config), _mixture(config, shape)
    net, linear = kda_of(config, shape.layers)
    full = tuple(index for index in range(shape.layers) if index not in linear)
    return describe(
        config, shape, identity, family="linear-attention-hybrid", intermediate_size=mixture.dense_width,
        weights=(
            *latent_attention(full, latent, hidden=shape.hidden, heads=shape.heads),
            *kda(net, linear, hidden=shape.hidden),
            *(
                replace(group, least_share=LEAST_EXPERT_WIDTH) if group.expert else group
                for group in mixture_weights(mixture, shape.hidden, range(shape.layers))
            ),
            vector("layer_norms", 2 * shape.hidden, range(shape.layers)),
            *embeddings(shape),
        ),
        kv_groups=(kda_state(net, linear), *latent_caches(latent, full, None)),
        experts=mixture.count, experts_per_token=mixture.chosen, rotary_dim=0,
    )  # fmt: skip


def kda_of(config: Mapping[str, object], layers: int) -> tuple[Kda, tuple[int, ...]]:
    """Return the shape and the indices of KDA layers; the file counts layers from 1."""
    net, _ = kda_shape(config)
    stated = config.get("linear_attn_config")
    return net, indices(stated if isinstance(stated, Mapping) else {}, "kda_layers", layers, first=1)


def kda_shape(config: Mapping[str, object]) -> tuple[Kda, bool]:
    """Return the shape of KDA layers and whether their gate is bounded, which the faster kernels need."""
    stated = config.get("linear_attn_config")
    if not isinstance(stated, Mapping):
        raise BadInput("config.json: linear_attn_config", "missing or not an object")
    net = Kda(
        heads=whole(stated, "num_heads"),
        head_dim=whole(stated, "head_dim"),
        taps=whole(stated, "short_conv_kernel_size"),
    )
    return net, stated.get("gate_lower_bound") is not None


def _mixture(config: Mapping[str, object], shape: Shape) -> Mixture:
    number, step = count(config, "num_experts"), whole(config, "moe_layer_freq", 1)
    first, width = count(config, "first_k_dense_replace"), whole(config, "moe_intermediate_size")
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number, "num_experts_per_token"),
        width=width,
        dense_width=whole(config, "intermediate_size"),
        shared_width=count(config, "num_shared_experts") * width,
        dense_layers=frozenset(i for i in range(shape.layers) if not number or i < first or i % step),
        score_bias=True,
        module="block_sparse_moe.",
        names=("w1", "w3", "w2"),
    )
