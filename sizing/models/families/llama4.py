"""Llama 4 text: chunked attention with every fourth layer full, experts in every layer or every second one.

Source: vLLM 0.32.0, ``model_executor/models/llama4.py``. Layers without rotary positions attend to everything, the
others within chunks; the shared expert is as wide as a routed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, whole
from sizing.models.blocks.layer_kinds import of_kind
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights
from sizing.models.blocks.parts import Identity, attention, describe, embeddings, full_cache, shape_of, vector
from sizing.models.blocks.windows import interleaved
from sizing.models.spec import ModelSpec

ARCHITECTURES = ("Llama4ForCausalLM",)


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of Llama 4's text model."""
    shape = shape_of(config)
    layers, mixture = range(shape.layers), mixture_of(config, shape.layers)
    chunk = count(config, "attention_chunk_size")
    kinds = attention_kinds(config, shape.layers) if chunk else ("full",) * shape.layers
    chunked = replace(full_cache(shape, of_kind(kinds, "chunked")), kind="chunked", window=chunk)
    weights = (
        *attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim
        ),
        vector("layer_norms", 2 * shape.hidden, layers),
        *mixture_weights(mixture, shape.hidden, layers),
        *embeddings(shape),
    )  # fmt: skip
    return describe(
        config, shape, identity, family="sliding-window-hybrid" if chunk else "moe",
        intermediate_size=mixture.width, weights=weights,
        kv_groups=interleaved(chunked, full_cache(shape, of_kind(kinds, "full"))),
        experts=mixture.count, experts_per_token=mixture.chosen,
    )  # fmt: skip


def mixture_of(config: Mapping[str, object], layers: int) -> Mixture:
    """Read the experts; ``interleave_moe_layer_step`` 0 means none."""
    step, width = count(config, "interleave_moe_layer_step", 1), whole(config, "intermediate_size")
    number = whole(config, "num_local_experts")
    dense = frozenset(i for i in range(layers) if not step or (i + 1) % step)
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number),
        width=width,
        dense_width=whole(config, "intermediate_size_mlp") if dense else 0,
        shared_width=width,
        dense_layers=dense,
        module="feed_forward.",
        shared="shared_expert.",
    )


def attention_kinds(config: Mapping[str, object], layers: int) -> tuple[str, ...]:
    """Return ``chunked`` for layers with rotary positions, ``full`` for the others."""
    stated = config.get("no_rope_layers")
    if not stated:
        step = whole(config, "no_rope_layer_interval", 4)
        stated = [int((index + 1) % step != 0) for index in range(layers)]
    if not isinstance(stated, list) or len(stated) != layers or not all(type(i) is int and i in (0, 1) for i in stated):
        raise BadInput("config.json: no_rope_layers", f"{str(stated)[:40]!r}", limit=f"{layers} times 0 or 1")
    return tuple("chunked" if rotates else "full" for rotates in stated)
