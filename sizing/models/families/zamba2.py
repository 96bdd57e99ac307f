"""Zamba2: Mamba 2 in every layer, and before some of them one of a few shared transformer blocks with adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sizing.errors import BadInput
from sizing.models.blocks.fields import flag, whole
from sizing.models.blocks.layer_kinds import layer_kinds, of_kind
from sizing.models.blocks.parts import (
    LAYER,
    Identity,
    Shape,
    attention,
    describe,
    embeddings,
    mlp,
    replicated,
    shape_of,
)
from sizing.models.blocks.parts import vector as norm
from sizing.models.blocks.recurrent import Mamba2, mamba2, mamba2_state, matrix
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("Zamba2ForCausalLM",)
BLOCK = LAYER + "shared_transformer."


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a Zamba2 model."""
    head_dim = whole(config, "attention_head_dim")
    shape = shape_of({**config, "head_dim": head_dim}, tied_by_default=True)
    kinds = layer_kinds(config, shape.layers, key="layers_block_type")
    hybrid, layers, net = of_kind(kinds, "hybrid"), range(shape.layers), _mamba(config, shape.hidden)
    if not hybrid or len(hybrid) + len(of_kind(kinds, "state")) != shape.layers:
        raise BadInput("config.json: layers_block_type", "layers other than mamba and hybrid, or no hybrid layer")
    shared = hybrid[: whole(config, "num_mem_blocks", 1)]
    return describe(
        config, shape, identity, family="mamba-hybrid", intermediate_size=whole(config, "intermediate_size"),
        weights=(
            *mamba2(net, layers, hidden=shape.hidden),
            norm("layer_norms", shape.hidden, layers),
            replicated("linear", shape.hidden, shape.hidden, hybrid, path=LAYER + "linear"),
            *_shared(config, shape, shared),
            *_adapters(config, shape, hybrid, len(shared)),
            *embeddings(shape),
        ),
        kv_groups=(
            KvGroup(kind="full", layers=hybrid, kv_heads=shape.kv_heads, head_dim=head_dim),
            mamba2_state(net, layers),
        ),
        rotary_dim=head_dim if flag(config, "use_mem_rope", False) else 0,
    )  # fmt: skip


def _mamba(config: Mapping[str, object], hidden: int) -> Mamba2:
    inner, heads = whole(config, "mamba_expand", 2) * hidden, whole(config, "n_mamba_heads")
    head_dim = whole(config, "mamba_headdim", max(inner // heads, 1))
    if heads * head_dim != inner:
        raise BadInput("config.json: n_mamba_heads", f"{heads} heads of {head_dim} are not mamba_expand x hidden_size")
    return Mamba2(
        heads=heads, head_dim=head_dim, groups=whole(config, "mamba_ngroups", 1),
        state=whole(config, "mamba_d_state"), taps=whole(config, "mamba_d_conv"),
        bias=flag(config, "add_bias_linear", False),
    )  # fmt: skip


def _shared(config: Mapping[str, object], shape: Shape, blocks: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return the shared blocks, each stored once; attention reads hidden state and embedding side by side."""
    wide, width = whole(config, "attention_hidden_size"), whole(config, "intermediate_size")
    if wide != shape.heads * shape.head_dim:
        problem = f"{wide} is not {shape.heads} heads of {shape.head_dim}"
        raise BadInput("config.json: attention_hidden_size", problem)
    query, key, value, out = attention(
        blocks, hidden=wide, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
        path=BLOCK + "self_attn.",
    )  # fmt: skip
    return (
        query,
        key,
        value,
        matrix("o_proj", shape.hidden, out.columns, blocks, "in", path=out.path),
        *mlp(
            blocks, hidden=shape.hidden, width=width, bias=flag(config, "add_bias_linear", False),
            path=BLOCK + "feed_forward.",
        ),
        norm("block_norms", wide + shape.hidden, blocks),
    )  # fmt: skip


def _adapters(
    config: Mapping[str, object], shape: Shape, hybrid: Sequence[int], blocks: int
) -> tuple[WeightGroup, ...]:
    """Return the low-rank adapters, one a hybrid layer, which stand in the block that the layer uses."""
    rank, width, wide = whole(config, "adapter_rank", 128), whole(config, "intermediate_size"), shape.hidden
    used = tuple(hybrid[index % blocks] for index in range(len(hybrid)))
    groups = _adapter("gate_up", used, rank, wide, 2 * width)
    if flag(config, "use_shared_attention_adapter", False):
        inner = whole(config, "attention_hidden_size")
        for part in ("q", "k", "v"):
            groups += _adapter(part, used, rank, inner, inner)
    return groups


def _adapter(part: str, used: Sequence[int], rank: int, inputs: int, outputs: int) -> tuple[WeightGroup, ...]:
    path = BLOCK + f"{part}_adapter."
    return (
        matrix(f"{part}_adapter_a", rank, inputs, used, "out", path=path + "A"),
        matrix(f"{part}_adapter_b", outputs, rank, used, "out", path=path + "B"),
    )
