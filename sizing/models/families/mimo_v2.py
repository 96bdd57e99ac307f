"""MiMo-V2-Flash: windows of 128 tokens with wider KV heads beside full layers, experts, sinks.

Source: vLLM 0.32.0, ``model_executor/models/mimo_v2.py``. Values are narrower than keys, and layers with the window
have head counts of their own (``swa_*``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import rotary_dimension
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights
from sizing.models.blocks.parts import Identity, attention, describe, embeddings, shape_of, vector
from sizing.models.blocks.windows import interleaved
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("MiMoV2FlashForCausalLM",)
TABLES = 2
"""Rotary caches: one for full layers, one for windows."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a MiMo-V2-Flash model, without its layers for multi-token prediction."""
    shape = shape_of(config)
    layers = range(shape.layers)
    windowed = _marked(config, "hybrid_layer_pattern", shape.layers)
    full = tuple(i for i in layers if i not in windowed)
    mixture = mixture_of(config, shape.layers)
    wide, narrow = _layer_kind(config, full, ""), _layer_kind(config, windowed, "swa_")
    return describe(
        config, shape, identity, family="sliding-window-hybrid", intermediate_size=mixture.width,
        weights=(
            *_attention(config, shape.hidden, wide, "", "add_full_attention_sink_bias"),
            *_attention(config, shape.hidden, narrow, "swa_", "add_swa_attention_sink_bias"),
            vector("layer_norms", 2 * shape.hidden, layers),
            *mixture_weights(mixture, shape.hidden, layers),
            *embeddings(shape),
        ),
        kv_groups=interleaved(wide, replace(narrow, kind="sliding", window=whole(config, "sliding_window"))),
        experts=mixture.count, experts_per_token=mixture.chosen, rotary_tables=TABLES,
        rotary_dim=rotary_dimension(config, shape.head_dim),
    )  # fmt: skip


def mixture_of(config: Mapping[str, object], layers: int) -> Mixture:
    """Read the experts; ``moe_layer_freq`` marks the layers that have them."""
    number, width = whole(config, "n_routed_experts"), whole(config, "moe_intermediate_size")
    marked = _marked(config, "moe_layer_freq", layers)
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number),
        width=width,
        dense_width=whole(config, "intermediate_size"),
        shared_width=count(config, "n_shared_experts") * width,
        dense_layers=frozenset(i for i in range(layers) if i not in marked),
        router_bytes=4,
        score_bias=config.get("topk_method") == "noaux_tc",
    )


def _marked(config: Mapping[str, object], key: str, layers: int) -> tuple[int, ...]:
    """Return the layers marked 1 in the list ``key``."""
    stated = config.get(key)
    if not isinstance(stated, list) or len(stated) != layers or not all(type(i) is int and i in (0, 1) for i in stated):
        raise BadInput(f"config.json: {key}", f"{str(stated)[:40]!r}", limit=f"{layers} times 0 or 1")
    return tuple(index for index, mark in enumerate(stated) if mark)


def _layer_kind(config: Mapping[str, object], layers: Sequence[int], prefix: str) -> KvGroup:
    """Return the cache of layers whose head counts are in fields that start with ``prefix``."""
    heads, dim = whole(config, prefix + "num_key_value_heads"), whole(config, prefix + "head_dim")
    value = whole(config, prefix + "v_head_dim", dim)
    return KvGroup(kind="full", layers=layers, kv_heads=heads, head_dim=dim, head_dim_v=value)


def _attention(
    config: Mapping[str, object], hidden: int, cache: KvGroup, prefix: str, sinks_field: str
) -> tuple[WeightGroup, ...]:
    heads = whole(config, prefix + "num_attention_heads")
    groups = attention(
        cache.layers, hidden=hidden, heads=heads, kv_heads=cache.kv_heads, head_dim=cache.head_dim,
        value_dim=cache.value_dim, qkv_bias=flag(config, "attention_bias", False),
    )  # fmt: skip
    if not flag(config, sinks_field, False):
        return groups
    return (*groups, replace(vector("sinks", heads, cache.layers), split="out"))
