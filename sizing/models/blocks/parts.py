"""Parts that families are put together from: attention, MLP, experts, embeddings, and the whole description.

Every function takes plain numbers (heads, widths, layer indices) and returns weight groups with the split that
vLLM gives them: q, k, v, gate and up by output, o and down by input, embeddings and head by padded vocabulary,
norms and routers on every rank. Reading fields of ``config.json`` is in ``fields``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sizing.errors import BadInput
from sizing.models.blocks.fields import dtype_of, flag, max_positions, whole
from sizing.models.kv_groups import KvGroup
from sizing.models.quantisation.config import kv_cache_dtype_of, quantisation_of
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import Place, Split, WeightGroup

LAYER = "model.layers.{i}."


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What the caller knows of the model that its configuration does not say."""

    name: str
    revision: str
    checkpoint_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Fields that nearly every decoder has. Sizes in elements, ``layers`` a count."""

    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    positions: int
    tied: bool


def shape_of(config: Mapping[str, object], *, tied_by_default: bool = False) -> Shape:
    """Read the common fields; BadInput names the one that is missing, mistyped or contradicts another."""
    hidden, heads = whole(config, "hidden_size"), whole(config, "num_attention_heads")
    kv_heads = whole(config, "num_key_value_heads", heads)
    if heads % kv_heads:
        raise BadInput("config.json: num_key_value_heads", f"{kv_heads} does not divide num_attention_heads {heads}")
    return Shape(
        architecture=architecture_of(config),
        hidden=hidden,
        layers=whole(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dimension(config),
        vocabulary=whole(config, "vocab_size"),
        positions=max_positions(config),
        tied=flag(config, "tie_word_embeddings", tied_by_default),
    )


def architecture_of(config: Mapping[str, object]) -> str:
    """Return ``architectures[0]``, empty where absent."""
    stated = config.get("architectures")
    return str(stated[0]) if isinstance(stated, list) and stated else ""


def head_dimension(config: Mapping[str, object]) -> int:
    """Return ``head_dim``, or hidden size over heads where the file leaves it out."""
    hidden, heads = whole(config, "hidden_size"), whole(config, "num_attention_heads")
    if config.get("head_dim") is None and hidden % heads:
        raise BadInput("config.json: num_attention_heads", f"{heads} does not divide hidden_size {hidden}")
    return whole(config, "head_dim", max(hidden // heads, 1))


def attention(
    layers: Sequence[int],
    *,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    value_dim: int | None = None,
    gated: bool = False,
    qkv_bias: bool = False,
    o_bias: bool = False,
    path: str = LAYER + "self_attn.",
) -> tuple[WeightGroup, ...]:
    """Return q, k, v, o with their biases. ``gated`` doubles q by an output gate (Qwen3-Next)."""
    value = head_dim if value_dim is None else value_dim
    wide = heads * head_dim * (2 if gated else 1)
    shapes: tuple[tuple[str, int, int, Split], ...] = (
        ("q_proj", wide, hidden, "out"),
        ("k_proj", kv_heads * head_dim, hidden, "kv"),
        ("v_proj", kv_heads * value, hidden, "kv"),
        ("o_proj", hidden, heads * value, "in"),
    )
    groups = [
        WeightGroup(
            name=part, rows=rows, columns=columns, split=split, kv_heads=kv_heads, layers=layers, path=path + part
        )
        for part, rows, columns, split in shapes
    ]
    if qkv_bias:
        narrow = kv_heads * (head_dim + value)
        bias = WeightGroup(name="q_bias", rows=wide, columns=1, split="out", layers=layers, linear=False)
        groups += [bias, replace(bias, name="kv_bias", rows=narrow, split="kv", kv_heads=kv_heads)]
    if o_bias:
        groups.append(vector("o_bias", hidden, layers))
    return tuple(groups)


def mlp(
    layers: Sequence[int],
    *,
    hidden: int,
    width: int,
    gated: bool = True,
    bias: bool = False,
    copies: int = 1,
    expert: bool = False,
    path: str = LAYER + "mlp.",
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> tuple[WeightGroup, ...]:
    """Return gate, up and down of an MLP of ``width`` (without gate: up and down), ``copies`` times a layer."""
    gate, up, down = names
    wide = [gate, up] if gated else [up]
    outer = WeightGroup(
        name=up, rows=width, columns=hidden, split="out", layers=layers, copies=copies, expert=expert
    )  # fmt: skip
    groups = [replace(outer, name=part, path=path + part) for part in wide]
    groups.append(replace(outer, name=down, rows=hidden, columns=width, split="in", path=path + down))
    if bias:
        rows = len(wide) * width
        groups.append(replace(outer, name="mlp_bias", rows=rows, columns=1, linear=False))
        groups.append(replace(vector("down_bias", hidden, layers), copies=copies, expert=expert))
    return tuple(groups)


def experts(
    layers: Sequence[int],
    *,
    hidden: int,
    width: int,
    count: int,
    gated: bool = True,
    bias: bool = False,
    router_bias: bool = False,
    path: str = LAYER + "mlp.experts.0.",
    router_bytes: int | None = None,
    router_path: str = "",
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
) -> tuple[WeightGroup, ...]:
    """Return ``count`` routed experts of ``width`` with their router, which every rank holds.

    A router is not quantised but where the class gives it the checkpoint's settings: then it has a ``router_path``.
    """
    router = WeightGroup(
        name="router", rows=count, columns=hidden, split="replicated", layers=layers, linear=bool(router_path),
        path=router_path, element_bytes=router_bytes,
    )  # fmt: skip
    groups = [
        router,
        *mlp(
            layers, hidden=hidden, width=width, gated=gated, bias=bias, copies=count, expert=True, path=path,
            names=names,
        ),
    ]  # fmt: skip
    if router_bias:
        groups.append(vector("router_bias", count, layers))
    return tuple(groups)


def vector(name: str, length: int, layers: Sequence[int], *, element_bytes: int | None = None) -> WeightGroup:
    """Return a vector that every rank holds: a norm, a bias after a reduction."""
    return WeightGroup(
        name=name, rows=length, columns=1, split="replicated", layers=layers, linear=False, element_bytes=element_bytes
    )


def replicated(name: str, rows: int, columns: int, layers: Sequence[int], *, path: str = "") -> WeightGroup:
    """Return a matrix that every rank holds whole; quantised like other linear layers where it has a path."""
    return WeightGroup(
        name=name, rows=rows, columns=columns, split="replicated", layers=layers, linear=bool(path), path=path
    )


EMBEDDING_ON_EVERY_STAGE = frozenset(
    {
        "Cohere2ForCausalLM",
        "FalconMambaForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma4ForCausalLM",
        "GraniteMoeHybridForCausalLM",
        "JambaForCausalLM",
        "Lfm2ForCausalLM",
        "Lfm2MoeForCausalLM",
        "MambaForCausalLM",
        "MixtralForCausalLM",
        "NemotronHForCausalLM",
        "Qwen3NextForCausalLM",
        "Qwen3_5ForCausalLM",
        "Qwen3_5MoeForCausalLM",
    }
)
"""Architectures whose embedding vLLM 0.32.0 keeps on all stages of a pipeline (no PPMissingLayer in its place)."""
HEAD_ON_LAST_STAGE = frozenset({"Lfm2ForCausalLM", "Lfm2MoeForCausalLM", "Qwen3_5ForCausalLM", "Qwen3_5MoeForCausalLM"})
"""Those of them whose output head stands on the last stage alone."""


def embeddings(shape: Shape, *, norm: int | None = None, head: bool = True) -> tuple[WeightGroup, ...]:
    """Return embedding, final norm (of ``norm`` elements, default the hidden size) and output head."""
    every = shape.architecture in EMBEDDING_ON_EVERY_STAGE
    table = WeightGroup(
        name="embed_tokens", rows=shape.vocabulary, columns=shape.hidden, split="vocabulary",
        place="every" if every else "first", linear=False,
    )  # fmt: skip
    length = shape.hidden if norm is None else norm
    final = replace(vector("norm", length, (0,)), place="last")
    groups = [table, final] if length else [table]
    if head:
        stays = every and (shape.tied or shape.architecture not in HEAD_ON_LAST_STAGE)
        place: Place = "every" if stays else "last"
        groups.append(replace(table, name="lm_head", place=place, tied=shape.tied))
    return tuple(groups)


def full_cache(shape: Shape, layers: Sequence[int] | None = None) -> KvGroup:
    """Return the cache of layers that keep every token with all KV heads."""
    kept = range(shape.layers) if layers is None else layers
    return KvGroup(kind="full", layers=kept, kv_heads=shape.kv_heads, head_dim=shape.head_dim)


def describe(
    config: Mapping[str, object],
    shape: Shape,
    identity: Identity,
    *,
    family: str,
    intermediate_size: int,
    weights: Sequence[WeightGroup],
    kv_groups: Sequence[KvGroup],
    **rest: Any,
) -> ModelSpec:
    """Put the parts together; ``rest`` are further fields of ``ModelSpec``."""
    fields: dict[str, Any] = {"rotary_dim": shape.head_dim, "dtype": dtype_of(config), **rest}
    return ModelSpec(
        name=identity.name,
        revision=identity.revision,
        checkpoint_bytes=identity.checkpoint_bytes,
        architecture=shape.architecture,
        family=family,
        hidden_size=shape.hidden,
        num_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=intermediate_size,
        vocab_size=shape.vocabulary,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=shape.tied,
        quantisation=fields.pop("quantisation", None) or quantisation_of(config),
        kv_cache_dtype=kv_cache_dtype_of(config),
        weights=tuple(group for group in weights if len(group.layers)),
        kv_groups=tuple(group for group in kv_groups if len(group.layers)),
        **fields,
    )
