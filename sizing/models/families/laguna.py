"""Laguna: gated attention with windows by turns, heads that differ by layer, experts with a shared one."""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput
from sizing.models.blocks.fields import LIMITS, count, flag, whole
from sizing.models.blocks.layer_kinds import rotary_dimension
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights
from sizing.models.blocks.parts import LAYER, Identity, Shape, attention, describe, embeddings, shape_of, vector
from sizing.models.blocks.recurrent import matrix, sharded_vector
from sizing.models.blocks.windows import caches
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("LagunaForCausalLM",)
PER_HEAD = (True, "per-head")
"""Values of ``gating`` for one gate a head."""
PER_ELEMENT = "per-element"


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a Laguna model."""
    shape, mixture = shape_of(config), _mixture(config)
    layers = range(shape.layers)
    groups = caches(config, shape, kinds=("full",) * shape.layers)
    windowed = [i for group in groups if group.kind == "sliding" for i in group.layers]
    sinks = windowed if flag(config, "swa_attention_sink_enabled", False) else []
    return describe(
        config, shape, identity, family="sliding-window-hybrid", intermediate_size=mixture.width,
        weights=(
            *(group for heads, own in _heads(config, shape).items() for group in _attention(config, shape, heads, own)),
            *((sharded_vector("sink", shape.heads, tuple(sinks)),) if sinks else ()),
            vector("qk_norm", 2 * shape.head_dim, layers),
            vector("layer_norms", 2 * shape.hidden, layers),
            *mixture_weights(mixture, shape.hidden, layers),
            *embeddings(shape),
        ),
        kv_groups=groups, rotary_dim=_rotary(config, shape, len(groups) > 1),
        experts=mixture.count, experts_per_token=mixture.chosen,
    )  # fmt: skip


def _heads(config: Mapping[str, object], shape: Shape) -> Mapping[int, tuple[int, ...]]:
    """Return the layers by their number of query heads."""
    key = "num_attention_heads_per_layer"
    stated = config.get(key)
    if stated is None:
        return {shape.heads: tuple(range(shape.layers))}
    most = LIMITS["num_attention_heads"]
    if not isinstance(stated, list) or len(stated) != shape.layers or any(type(n) is not int for n in stated):
        raise BadInput(f"config.json: {key}", "not a list of whole numbers", limit=f"{shape.layers} entries")
    if any(not 0 < n <= most or n % shape.kv_heads for n in stated):
        raise BadInput(f"config.json: {key}", "not divisible by num_key_value_heads", limit=f"1 to {most}")
    return {heads: tuple(i for i, n in enumerate(stated) if n == heads) for heads in sorted(set(stated))}


def _attention(
    config: Mapping[str, object], shape: Shape, heads: int, layers: tuple[int, ...]
) -> tuple[WeightGroup, ...]:
    bias, gating = flag(config, "attention_bias", False), config.get("gating", False)
    groups = attention(
        layers, hidden=shape.hidden, heads=heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
        qkv_bias=bias, o_bias=bias,
    )  # fmt: skip
    if not gating:
        return groups
    if gating not in (*PER_HEAD, PER_ELEMENT):
        raise BadInput("config.json: gating", f"{str(gating)[:40]!r}", limit="true, false, per-head or per-element")
    rows = heads * (shape.head_dim if gating == PER_ELEMENT else 1)
    return (*groups, matrix("g_proj", rows, shape.hidden, layers, "out", path=LAYER + "self_attn.g_proj"))


def _mixture(config: Mapping[str, object]) -> Mixture:
    layers, stated = whole(config, "num_hidden_layers"), config.get("mlp_layer_types")
    if not isinstance(stated, list) or len(stated) != layers or any(kind not in ("dense", "sparse") for kind in stated):
        raise BadInput("config.json: mlp_layer_types", "missing or not dense and sparse", limit=f"{layers} entries")
    number = count(config, "num_experts")
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number),
        width=whole(config, "moe_intermediate_size"),
        dense_width=whole(config, "intermediate_size"),
        shared_width=count(config, "shared_expert_intermediate_size"),
        score_bias=True,
        dense_layers=frozenset(i for i, kind in enumerate(stated) if kind == "dense" or not number),
        shared="shared_expert.",
    )


def _rotary(config: Mapping[str, object], shape: Shape, mixed: bool) -> int:
    """Return the elements that rotate, those of full and sliding layers together where they differ."""
    stated = config.get("rope_parameters")
    nested = stated if isinstance(stated, Mapping) else {}
    own = [nested.get(kind) for kind in ("full_attention", "sliding_attention")]
    if not mixed or not all(isinstance(part, Mapping) for part in own):
        return rotary_dimension(config, shape.head_dim)
    return sum(rotary_dimension({"rope_parameters": part}, shape.head_dim) for part in own)
