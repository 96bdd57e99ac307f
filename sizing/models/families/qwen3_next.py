"""Qwen3-Next, Qwen3.5, 3.6 and 3.8 (dense and mixtures): Gated DeltaNet layers with gated full attention between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import every, layer_kinds, of_kind, rotary_dimension, text_config
from sizing.models.blocks.mixture import chosen_experts
from sizing.models.blocks.parts import (
    Identity,
    Shape,
    attention,
    describe,
    embeddings,
    experts,
    full_cache,
    mlp,
    shape_of,
    vector,
)
from sizing.models.blocks.recurrent import DeltaNet, delta_net, delta_net_state, matrix, state_bytes_of
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("Qwen3NextForCausalLM", "Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM")
INTERVAL = 4
"""Every fourth layer keeps full attention where the file says neither which nor how many."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a decoder of Gated DeltaNet and full attention; reads ``text_config`` if nested."""
    text = text_config(config)
    shape = shape_of(text)
    kinds = layer_kinds(
        text, shape.layers, default=every(shape.layers, whole(text, "full_attention_interval", INTERVAL))
    )
    full, linear, net = of_kind(kinds, "full"), of_kind(kinds, "state"), delta_net_of(text)
    if len(full) + len(linear) != shape.layers:
        raise BadInput("config.json: layer_types", "layers other than linear_attention and full_attention")
    drafts = _draft_layers(text)
    width, many = _widths(text)
    temporal = state_bytes_of(text, "mamba_ssm_dtype")
    return describe(
        text, shape, identity, family="linear-attention-hybrid", intermediate_size=width,
        weights=(
            *_full_layers(text, shape, full),
            *delta_net(net, linear, hidden=shape.hidden, fused=shape.architecture == "Qwen3NextForCausalLM"),
            *_feed_forward(text, shape, range(shape.layers)),
            *embeddings(shape),
            *_draft(text, shape, drafts),
        ),
        kv_groups=(delta_net_state(net, linear, temporal_bytes=temporal), full_cache(shape, full)),
        rotary_dim=rotary_dimension(text, shape.head_dim, 0.25),
        experts=many, experts_per_token=chosen_experts(text, many) if many else 0, draft_layers=drafts,
    )  # fmt: skip


def delta_net_of(config: Mapping[str, object]) -> DeltaNet:
    """Return the shape of the linear layers."""
    net = DeltaNet(
        key_heads=whole(config, "linear_num_key_heads"),
        value_heads=whole(config, "linear_num_value_heads"),
        key_dim=whole(config, "linear_key_head_dim"),
        value_dim=whole(config, "linear_value_head_dim"),
        taps=whole(config, "linear_conv_kernel_dim"),
    )
    if net.value_heads % net.key_heads:
        problem = f"{net.key_heads} does not divide linear_num_value_heads {net.value_heads}"
        raise BadInput("config.json: linear_num_key_heads", problem)
    return net


def _widths(config: Mapping[str, object]) -> tuple[int, int]:
    """Return the width of an MLP or of one expert, and the number of experts (0 where dense)."""
    many = count(config, "num_experts")
    if many and (config.get("mlp_only_layers") or whole(config, "decoder_sparse_step", 1) != 1):
        raise BadInput("config.json: mlp_only_layers", "layers without experts are not modelled in this family")
    return whole(config, "moe_intermediate_size" if many else "intermediate_size"), many


def _draft_layers(config: Mapping[str, object]) -> int:
    return count(config, "mtp_num_hidden_layers", 0) or count(config, "num_nextn_predict_layers", 0)


def _full_layers(config: Mapping[str, object], shape: Shape, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    return (
        *attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            gated=flag(config, "attn_output_gate", True), qkv_bias=flag(config, "qkv_bias", False),
        ),
        vector("qk_norm", 2 * shape.head_dim, layers),
    )  # fmt: skip


def _feed_forward(config: Mapping[str, object], shape: Shape, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return MLP or experts with the shared one, and both norms of the layers."""
    width, many = _widths(config)
    norms, hidden = vector("layer_norms", 2 * shape.hidden, layers), shape.hidden
    if not many:
        return (norms, *mlp(layers, hidden=hidden, width=width))
    groups = [norms, *experts(layers, hidden=hidden, width=width, count=many)]
    shared = count(config, "shared_expert_intermediate_size")
    if shared:
        groups += mlp(layers, hidden=hidden, width=shared, path="model.layers.{i}.mlp.shared_expert.")
        groups.append(vector("shared_gate", hidden, layers))
    return tuple(groups)


def _draft(config: Mapping[str, object], shape: Shape, drafts: int) -> tuple[WeightGroup, ...]:
    """Return the layers of multi-token prediction; embedding and head are those of the model."""
    if not drafts:
        return ()
    layers = range(shape.layers, shape.layers + drafts)
    first = (shape.layers,)
    groups = (
        *_full_layers(config, shape, layers),
        *_feed_forward(config, shape, layers),
        matrix("mtp_fc", shape.hidden, 2 * shape.hidden, first, "out", path="mtp.fc"),
        vector("mtp_norms", 3 * shape.hidden, first),
    )
    return tuple(
        replace(group, draft=True, path=group.path.replace("model.layers.", "mtp.layers.")) for group in groups
    )
