"""Gemma 4 (text): global heads of their own, shared caches, per-layer embeddings, experts beside the MLP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import every, layer_kinds, of_kind, text_config
from sizing.models.blocks.mixture import chosen_experts
from sizing.models.blocks.parts import (
    Identity,
    Shape,
    attention,
    describe,
    embeddings,
    experts,
    mlp,
    replicated,
    shape_of,
    vector,
)
from sizing.models.blocks.windows import interleaved
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("Gemma4ForCausalLM",)
PERIOD = 6
"""Every sixth layer is global where the file names no kinds."""
GLOBAL_HEAD_DIM = 512
"""Head dimension of global layers where the file has none."""


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """Layers with the same attention: ``window`` 0 where they see everything, ``shared`` without keys and values."""

    layers: tuple[int, ...]
    kv_heads: int
    head_dim: int
    window: int
    shared: bool


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of the text part; reads ``text_config`` if nested."""
    text = text_config(config)
    shape = shape_of(text, tied_by_default=True)
    sets = _attention_sets(text, shape)
    many, width = count(text, "num_experts"), whole(text, "intermediate_size")
    local, wide = sorted({item.head_dim for item in sets}) if len({i.head_dim for i in sets}) == 2 else (0, 0)
    return describe(
        text, shape, identity, family="sliding-window-hybrid", intermediate_size=width,
        weights=(
            *(group for item in sets for group in _attention(text, shape, item)),
            *_feed_forward(text, shape, width),
            *(_experts(text, shape, many) if many else ()),
            *_layer_embeddings(text, shape),
            *embeddings(shape),
        ),
        kv_groups=interleaved(*(_cache(item) for item in sets if not item.shared)),
        rotary_dim=local + wide or shape.head_dim,
        rotary_tables=1 if local else 2,
        experts=many, experts_per_token=chosen_experts(text, many, "top_k_experts") if many else 0,
    )  # fmt: skip


def _attention_sets(config: Mapping[str, object], shape: Shape) -> tuple[_Layers, ...]:
    """Return sliding and global layers, each with its own cache or with that of an earlier layer."""
    kinds = layer_kinds(config, shape.layers, default=every(shape.layers, PERIOD, other="sliding"))
    kinds = (*kinds[:-1], "full")
    if set(kinds) - {"full", "sliding"}:
        raise BadInput("config.json: layer_types", "layers other than full_attention and sliding_attention")
    first_shared = shape.layers - count(config, "num_kv_shared_layers")
    if first_shared < 1:
        raise BadInput("config.json: num_kv_shared_layers", "all layers", limit=f"below {shape.layers}")
    tied = flag(config, "attention_k_eq_v", False)
    heads = whole(config, "num_global_key_value_heads", shape.kv_heads) if tied else shape.kv_heads
    form = {
        "sliding": (shape.kv_heads, shape.head_dim, whole(config, "sliding_window")),
        "full": (heads, whole(config, "global_head_dim", GLOBAL_HEAD_DIM), 0),
    }
    found = []
    for kind, (kv_heads, head_dim, window) in form.items():
        for shared in (False, True):
            layers = tuple(i for i in of_kind(kinds, kind) if (i >= first_shared) is shared)
            found.append(_Layers(layers=layers, kv_heads=kv_heads, head_dim=head_dim, window=window, shared=shared))
    return tuple(item for item in found if item.layers)


def _cache(item: _Layers) -> KvGroup:
    return KvGroup(
        kind="sliding" if item.window else "full", layers=item.layers, kv_heads=item.kv_heads,
        head_dim=item.head_dim, window=item.window,
    )  # fmt: skip


def _attention(config: Mapping[str, object], shape: Shape, item: _Layers) -> tuple[WeightGroup, ...]:
    """Return attention of the layers of one form; keys tied to values are stored twice, as vLLM does."""
    bias = flag(config, "attention_bias", False)
    groups = attention(
        item.layers, hidden=shape.hidden, heads=shape.heads, kv_heads=item.kv_heads, head_dim=item.head_dim,
        qkv_bias=bias, o_bias=bias,
    )  # fmt: skip
    if item.shared:
        groups = tuple(group for group in groups if group.split != "kv")
    return (*groups, vector("qk_norm", item.head_dim * (1 if item.shared else 2), item.layers))


def _feed_forward(config: Mapping[str, object], shape: Shape, width: int) -> tuple[WeightGroup, ...]:
    """Return the MLPs with the norms of the layers; those of layers with a shared cache may be twice as wide."""
    first_shared = shape.layers - count(config, "num_kv_shared_layers")
    double = flag(config, "use_double_wide_mlp", False) and first_shared < shape.layers
    split = first_shared if double else shape.layers
    groups = [vector("layer_norms", 4 * shape.hidden, range(shape.layers)), vector("scalar", 1, range(shape.layers))]
    groups += mlp(range(split), hidden=shape.hidden, width=width)
    if double:
        groups += mlp(range(split, shape.layers), hidden=shape.hidden, width=2 * width)
    return tuple(groups)


def _experts(config: Mapping[str, object], shape: Shape, many: int) -> tuple[WeightGroup, ...]:
    layers, key = range(shape.layers), "moe_intermediate_size"
    width = whole(config, key if config.get(key) is not None else "expert_intermediate_size")
    return (
        *experts(layers, hidden=shape.hidden, width=width, count=many, path="model.layers.{i}.experts.0."),
        vector("moe_norms", 4 * shape.hidden + many, layers),
    )


def _layer_embeddings(config: Mapping[str, object], shape: Shape) -> Sequence[WeightGroup]:
    """Return the embedding of every layer with its projections, where the model has it."""
    size = count(config, "hidden_size_per_layer_input")
    if not size:
        return ()
    rows, layers = whole(config, "vocab_size_per_layer_input", shape.vocabulary), range(shape.layers)
    total = size * shape.layers
    table = WeightGroup(
        name="embed_tokens_per_layer", rows=rows, columns=total, split="vocabulary", place="every", linear=False
    )
    projection = replace(
        table, name="per_layer_model_projection", rows=total, columns=shape.hidden, split="out", linear=True,
        path="model.per_layer_model_projection",
    )  # fmt: skip
    path = "model.layers.{i}."
    return (
        table,
        projection,
        replace(vector("per_layer_projection_norm", size, (0,)), place="every"),
        replicated("per_layer_input_gate", size, shape.hidden, layers, path=path + "per_layer_input_gate"),
        replicated("per_layer_projection", shape.hidden, size, layers, path=path + "per_layer_projection"),
        vector("per_layer_norm", shape.hidden, layers),
    )
