"""Decoders whose blocks differ one by one (Llama-Nemotron Super and Ultra): ``block_configs`` says what each has.

A block may leave attention out, or have its own number of KV heads and its own MLP width.
Source: ``nemotron_nas.py`` of vLLM 0.32.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import flag, whole
from sizing.models.blocks.parts import Identity, attention, describe, embeddings, mlp, shape_of, vector
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("DeciLMForCausalLM",)
WIDTH_STEP = 256
"""MLP widths are whole multiples of this (``_ffn_mult_to_intermediate_size``)."""
LARGEST_MULTIPLE = 64


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description block by block; blocks that are alike share their groups."""
    shape = shape_of({**config, "num_key_value_heads": None})
    blocks = _blocks(config, shape.layers)
    grouped = _alike([_kv_heads(block, shape.heads) for block in blocks])
    widths = _alike([_width(block, shape.hidden) for block in blocks])
    bias, mlp_bias = flag(config, "attention_bias", False), flag(config, "mlp_bias", False)
    weights: list[WeightGroup] = []
    for heads, layers in grouped.items():
        weights += attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=heads, head_dim=shape.head_dim, qkv_bias=bias,
            o_bias=bias,
        )  # fmt: skip
        weights.append(vector("attention_norm", shape.hidden, layers))
    for width, layers in widths.items():
        weights += mlp(layers, hidden=shape.hidden, width=width, bias=mlp_bias)
        weights.append(vector("mlp_norm", shape.hidden, layers))
    caches = [
        KvGroup(kind="full", layers=layers, kv_heads=heads, head_dim=shape.head_dim)
        for heads, layers in grouped.items()
    ]
    shape = replace(shape, kv_heads=min(grouped, default=1))
    return describe(
        config, shape, identity, family="dense-gqa", intermediate_size=max(widths, default=1),
        weights=(*weights, *embeddings(shape)), kv_groups=caches,
    )  # fmt: skip


def _blocks(config: Mapping[str, object], layers: int) -> Sequence[Mapping[str, object]]:
    blocks = config.get("block_configs")
    if not isinstance(blocks, list) or len(blocks) != layers or not all(isinstance(one, Mapping) for one in blocks):
        raise BadInput("config.json: block_configs", "not a list of one object for each layer", limit=f"{layers}")
    return blocks


def _part(block: Mapping[str, object], key: str) -> Mapping[str, object] | None:
    """Return attention or MLP of a block; None where the block leaves it out."""
    inner = block.get(key)
    if not isinstance(inner, Mapping):
        raise BadInput(f"config.json: block_configs.{key}", f"expected an object, got {type(inner).__name__}")
    for other in ("replace_with_linear", "sparsify"):
        if inner.get(other):
            raise BadInput(f"config.json: block_configs.{key}.{other}", "is not modelled", way_out="--weights-gib")
    return None if flag(inner, "no_op", False) else inner


def _kv_heads(block: Mapping[str, object], heads: int) -> int:
    """Return the KV heads of a block, 0 without attention."""
    inner = _part(block, "attention")
    if inner is None:
        return 0
    size = whole(inner, "n_heads_in_group")
    if heads % size:
        raise BadInput("config.json: n_heads_in_group", f"{size} does not divide num_attention_heads {heads}")
    return heads // size


def _width(block: Mapping[str, object], hidden: int) -> int:
    """Return the MLP width of a block, 0 without MLP."""
    inner = _part(block, "ffn")
    if inner is None:
        return 0
    stated = inner.get("ffn_mult")
    if isinstance(stated, bool) or not isinstance(stated, int | float) or not 0 < stated <= LARGEST_MULTIPLE:
        raise BadInput("config.json: ffn_mult", f"{str(stated)[:40]!r}", limit=f"above 0, up to {LARGEST_MULTIPLE}")
    return -(-int(2 * stated * hidden / 3) // WIDTH_STEP) * WIDTH_STEP or WIDTH_STEP


def _alike(values: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return value -> layers that have it, without those that have none."""
    found: dict[int, list[int]] = {}
    for index, value in enumerate(values):
        if value:
            found.setdefault(value, []).append(index)
    return {value: tuple(layers) for value, layers in sorted(found.items())}
