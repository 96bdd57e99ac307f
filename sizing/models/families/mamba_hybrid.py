"""Mamba layers with attention between or beside: Jamba (Mamba 1), Bamba, Granite 4 and Falcon-H1 (Mamba 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import indices, layer_kinds, of_kind, rotary_dimension
from sizing.models.blocks.mixture import chosen_experts
from sizing.models.blocks.parts import (
    LAYER,
    Identity,
    Shape,
    architecture_of,
    attention,
    describe,
    embeddings,
    experts,
    full_cache,
    mlp,
    shape_of,
    vector,
)
from sizing.models.blocks.recurrent import Mamba1, Mamba2, mamba1, mamba1_state, mamba2, mamba2_state
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("JambaForCausalLM", "BambaForCausalLM", "FalconH1ForCausalLM", "GraniteMoeHybridForCausalLM")
JAMBA_PERIODS = {"attn_layer_period": 8, "attn_layer_offset": 4, "expert_layer_period": 2, "expert_layer_offset": 1}
"""Which of Jamba's layers attend and which have experts where the file does not say."""
JAMBA_FEED_FORWARD = LAYER + "feed_forward."


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a Mamba hybrid."""
    part = PARTS[architecture_of(config)]
    shape = shape_of(config, tied_by_default=architecture_of(config) == "GraniteMoeHybridForCausalLM")
    full, state, weights, rest = part(config, shape)
    many = int(rest.get("experts", 0))
    return describe(
        config, shape, identity, family="mamba-hybrid",
        weights=(*weights, *_attention(config, shape, full), *embeddings(shape)),
        kv_groups=(state, full_cache(shape, full)),
        experts_per_token=chosen_experts(config, many) if many else 0,
        **rest,
    )  # fmt: skip


Parts = tuple[tuple[int, ...], KvGroup, tuple[WeightGroup, ...], dict[str, int]]
"""Layers with attention, the state of the others, the weights other than attention, further fields."""


def _attention(config: Mapping[str, object], shape: Shape, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    bias = flag(config, "attention_bias", False)
    return (
        *attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            qkv_bias=bias, o_bias=bias,
        ),
        vector("layer_norms", 2 * shape.hidden, range(shape.layers)),
    )  # fmt: skip


def _periodic(config: Mapping[str, object], layers: int, name: str) -> tuple[int, ...]:
    """Return every ``name_period``-th layer from ``name_offset``."""
    period = whole(config, f"{name}_period", JAMBA_PERIODS[f"{name}_period"])
    offset = count(config, f"{name}_offset", JAMBA_PERIODS[f"{name}_offset"])
    return tuple(index for index in range(layers) if index % period == offset % period)


def _jamba(config: Mapping[str, object], shape: Shape) -> Parts:
    layers, hidden, width = range(shape.layers), shape.hidden, whole(config, "intermediate_size")
    full = _periodic(config, shape.layers, "attn_layer")
    linear = tuple(index for index in layers if index not in full)
    net = Mamba1(
        inner=whole(config, "mamba_expand", 2) * hidden, state=whole(config, "mamba_d_state", 16),
        taps=whole(config, "mamba_d_conv", 4), rank=_time_step_rank(config, hidden),
        conv_bias=flag(config, "mamba_conv_bias", True), bias=flag(config, "mamba_proj_bias", False), norms=True,
    )  # fmt: skip
    many = whole(config, "num_experts", 16)
    sparse = _periodic(config, shape.layers, "expert_layer") if many > 1 else ()
    dense = tuple(index for index in layers if index not in sparse)
    weights = (
        *mamba1(net, linear, hidden=hidden),
        *mlp(dense, hidden=hidden, width=width, path=JAMBA_FEED_FORWARD),
        *experts(sparse, hidden=hidden, width=width, count=many, path=JAMBA_FEED_FORWARD + "experts.0."),
    )
    rest = {"intermediate_size": width, "rotary_dim": 0, "experts": many if sparse else 0}
    return full, mamba1_state(net, linear), weights, rest


def _time_step_rank(config: Mapping[str, object], hidden: int, key: str = "mamba_dt_rank") -> int:
    return -(-hidden // 16) if config.get(key) in (None, "auto") else whole(config, key)


def mamba2_of(config: Mapping[str, object], hidden: int, *, norm: bool = True) -> Mamba2:
    """Return the shape of Mamba 2 layers from the fields that Bamba, Granite and Falcon use."""
    expanded, heads = whole(config, "mamba_expand", 2) * hidden, whole(config, "mamba_n_heads", 128)
    inner = whole(config, "mamba_d_ssm", expanded)
    head_dim = inner // heads if config.get("mamba_d_head") in (None, "auto") else whole(config, "mamba_d_head")
    if heads * head_dim != inner:
        problem = f"{heads} heads of {head_dim} are not mamba_d_ssm or mamba_expand x hidden_size = {inner}"
        raise BadInput("config.json: mamba_n_heads", problem)
    return Mamba2(
        heads=heads, head_dim=head_dim, groups=whole(config, "mamba_n_groups", 1),
        state=whole(config, "mamba_d_state", 256), taps=whole(config, "mamba_d_conv", 4),
        conv_bias=flag(config, "mamba_conv_bias", True), bias=flag(config, "mamba_proj_bias", False), norm=norm,
    )  # fmt: skip


def _bamba(config: Mapping[str, object], shape: Shape) -> Parts:
    layers, hidden, width = range(shape.layers), shape.hidden, whole(config, "intermediate_size")
    full = indices(config, "attn_layer_indices", shape.layers)
    linear = tuple(index for index in layers if index not in full)
    net = mamba2_of(config, hidden)
    weights = (
        *mamba2(net, linear, hidden=hidden),
        *mlp(layers, hidden=hidden, width=width, bias=flag(config, "mlp_bias", False), path=JAMBA_FEED_FORWARD),
    )
    rotary = whole(config, "attn_rotary_emb", rotary_dimension(config, shape.head_dim, 0.5))
    rest = {"intermediate_size": width, "rotary_dim": rotary}
    return full, mamba2_state(net, linear), weights, rest


def _granite(config: Mapping[str, object], shape: Shape) -> Parts:
    layers, hidden = range(shape.layers), shape.hidden
    kinds = layer_kinds(config, shape.layers)
    full, linear = of_kind(kinds, "full"), of_kind(kinds, "state")
    if len(full) + len(linear) != shape.layers:
        raise BadInput("config.json: layer_types", "layers other than mamba and attention")
    net, many = mamba2_of(config, hidden), count(config, "num_local_experts")
    width = whole(config, "intermediate_size")
    names = ("input_linear", "input_linear", "output_linear")
    groups = [*mamba2(net, linear, hidden=hidden)]
    shared = count(config, "shared_intermediate_size")
    if shared:
        groups += mlp(layers, hidden=hidden, width=shared, path=LAYER + "shared_mlp.", names=names)
    if many:
        groups += experts(
            layers, hidden=hidden, width=width, count=many, path=LAYER + "block_sparse_moe.experts.0."
        )  # fmt: skip
    rotates = config.get("position_embedding_type") == "rope"
    rest = {"intermediate_size": width, "rotary_dim": shape.head_dim if rotates else 0, "experts": many}
    return full, mamba2_state(net, linear), tuple(groups), rest


def _falcon(config: Mapping[str, object], shape: Shape) -> Parts:
    """Falcon-H1: every layer has both, side by side."""
    layers, hidden, width = range(shape.layers), shape.hidden, whole(config, "intermediate_size")
    net = mamba2_of(config, hidden, norm=flag(config, "mamba_rms_norm", False))
    bias = flag(config, "mlp_bias", False)
    weights = (
        *mamba2(net, layers, hidden=hidden),
        *mlp(layers, hidden=hidden, width=width, bias=bias, path=JAMBA_FEED_FORWARD),
    )
    rest = {"intermediate_size": width, "rotary_dim": whole(config, "attn_rotary_emb", shape.head_dim)}
    return tuple(layers), mamba2_state(net, layers), weights, rest


PARTS: Mapping[str, Callable[[Mapping[str, object], Shape], Parts]] = {
    "BambaForCausalLM": _bamba,
    "FalconH1ForCausalLM": _falcon,
    "GraniteMoeHybridForCausalLM": _granite,
    "JambaForCausalLM": _jamba,
}
