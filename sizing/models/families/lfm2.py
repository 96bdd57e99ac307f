"""LFM2, dense and with experts: short convolutions with attention between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import indices, layer_kinds, of_kind
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights
from sizing.models.blocks.parts import Identity, Shape, attention, describe, embeddings, full_cache, shape_of, vector
from sizing.models.blocks.recurrent import short_conv, short_conv_state
from sizing.models.spec import ModelSpec

ARCHITECTURES = ("Lfm2ForCausalLM", "Lfm2MoeForCausalLM")
MIXED = "Lfm2MoeForCausalLM"


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a decoder of short convolutions and full attention."""
    shape = shape_of(config, tied_by_default=True)
    kinds = layer_kinds(config, shape.layers, default=_default_kinds(config, shape.layers))
    full, linear = of_kind(kinds, "full"), of_kind(kinds, "state")
    if len(full) + len(linear) != shape.layers:
        raise BadInput("config.json: layer_types", "layers other than conv and full_attention")
    taps, mixture = whole(config, "conv_L_cache"), _mixture(config, shape)
    bias = flag(config, "conv_bias", False)
    return describe(
        config, shape, identity, family="linear-attention-hybrid",
        intermediate_size=mixture.width or mixture.dense_width,
        weights=(
            *attention(
                full, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim
            ),
            vector("qk_norm", 2 * shape.head_dim, full),
            *short_conv(linear, hidden=shape.hidden, taps=taps, bias=bias),
            *mixture_weights(mixture, shape.hidden, range(shape.layers)),
            vector("layer_norms", 2 * shape.hidden, range(shape.layers)),
            *embeddings(shape),
        ),
        kv_groups=(short_conv_state(linear, hidden=shape.hidden, taps=taps), full_cache(shape, full)),
        experts=mixture.count, experts_per_token=mixture.chosen,
    )  # fmt: skip


def _default_kinds(config: Mapping[str, object], layers: int) -> tuple[str, ...]:
    """Return the kinds of an older file, which lists the layers with attention."""
    full = indices(config, "full_attn_idxs", layers) if config.get("layer_types") is None else ()
    return tuple("full" if index in full else "state" for index in range(layers))


def _mixture(config: Mapping[str, object], shape: Shape) -> Mixture:
    """Return the MLPs; a dense width is two thirds of the stated one, rounded up, where the file says so."""
    names = ("w1", "w3", "w2")
    if shape.architecture == MIXED:
        number = whole(config, "num_experts")
        return Mixture(
            count=number, chosen=chosen_experts(config, number), width=whole(config, "moe_intermediate_size"),
            dense_width=whole(config, "intermediate_size"), score_bias=flag(config, "use_expert_bias", True),
            dense_layers=frozenset(range(min(count(config, "num_dense_layers"), shape.layers))),
            module="feed_forward.", names=names,
        )  # fmt: skip
    width = whole(config, "intermediate_size" if config.get("block_ff_dim") is None else "block_ff_dim")
    if flag(config, "block_auto_adjust_ff_dim", True):
        factor = config.get("block_ffn_dim_multiplier")
        width = 2 * width // 3
        if isinstance(factor, int | float) and not isinstance(factor, bool) and 0 < factor <= 64:
            width = int(factor * width)
        step = whole(config, "block_multiple_of", 256)
        width = -(-width // step) * step
    dense = Mixture(count=0, chosen=0, width=0, dense_width=width, module="feed_forward.", names=names)
    return replace(dense, dense_layers=frozenset(range(shape.layers)))
