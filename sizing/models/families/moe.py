"""Mixtures of experts with ordinary attention: Mixtral, Qwen, OLMoE, Phi-3.5-MoE, GLM-4.5, MiniMax-M2, ERNIE, Granite.

Attention as in the dense family; a router (never quantised, on every rank) and experts that tensor parallelism
splits inside each expert, or expert parallelism leaves whole. What sets the architectures apart is in ``DIALECTS``,
as vLLM 0.32.0 reads it (``model_executor/models/<model>.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import rotary_dimension
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights, mtp_joint
from sizing.models.blocks.parts import (
    Identity,
    Shape,
    architecture_of,
    attention,
    describe,
    embeddings,
    shape_of,
    vector,
)
from sizing.models.blocks.windows import caches
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

Config = Mapping[str, object]
W1_W3 = ("w1", "w3", "w2")


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one architecture names and shapes its parts. Text is the name of a field."""

    number: tuple[str, ...] = ("num_experts", "num_local_experts")
    chosen: str = "num_experts_per_tok"
    width: str = "moe_intermediate_size"
    shared_width: str = ""
    """Field with the width of the shared MLP."""
    shared_number: str = ""
    """Field with the number of shared experts, each of an expert's width."""
    shared_gate: bool = False
    dense: str = ""
    """Which layers have one MLP in place of experts: a key of ``DENSE_LAYERS``."""
    float32_router: bool = False
    quantised_router: bool = False
    score_bias: bool | str = False
    qkv_bias: bool | str = False
    o_bias: bool = False
    qk_norm: Literal["", "head", "whole", "split"] = ""
    """Norms of q and k: of one head, of all heads on every rank, of the heads of a rank."""
    qk_norm_field: str = ""
    layer_norm: bool = False
    """True for norms with a bias."""
    head_bias: bool = False
    tied: bool = False
    rotary: float = 1.0
    """Share of a head that rotates where the file does not say."""
    drafts: str = ""
    """Field with the number of layers for multi-token prediction."""
    module: str = "mlp."
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")


DIALECTS: Mapping[str, Dialect] = {
    "DeepseekForCausalLM": Dialect(number=("n_routed_experts",), shared_number="n_shared_experts", dense="first"),
    "Ernie4_5_MoeForCausalLM": Dialect(
        number=("moe_num_experts",), chosen="moe_k", shared_number="moe_num_shared_experts", dense="range",
        float32_router=True, score_bias=True, qkv_bias="use_bias", tied=True,
    ),
    "Glm4MoeForCausalLM": Dialect(
        number=("n_routed_experts",), shared_number="n_shared_experts", dense="first", float32_router=True,
        score_bias=True, qkv_bias="attention_bias", qk_norm="head", qk_norm_field="use_qk_norm", rotary=0.5,
        drafts="num_nextn_predict_layers",
    ),
    "GraniteMoeForCausalLM": Dialect(width="intermediate_size", module="block_sparse_moe.", names=W1_W3),
    "MiniMaxM2ForCausalLM": Dialect(
        width="intermediate_size", float32_router=True, score_bias="use_routing_bias", qkv_bias="attention_bias",
        qk_norm="split", module="block_sparse_moe.", names=W1_W3,
    ),
    "MixtralForCausalLM": Dialect(width="intermediate_size", module="block_sparse_moe.", names=W1_W3),
    "OlmoeForCausalLM": Dialect(width="intermediate_size", qk_norm="whole"),
    "PhiMoEForCausalLM": Dialect(
        width="intermediate_size", qkv_bias=True, o_bias=True, layer_norm=True, head_bias=True,
        module="block_sparse_moe.", names=W1_W3,
    ),
    "Qwen2MoeForCausalLM": Dialect(
        shared_width="shared_expert_intermediate_size", shared_gate=True, dense="steps", qkv_bias=True
    ),
    "Qwen3MoeForCausalLM": Dialect(
        shared_width="shared_expert_intermediate_size", shared_gate=True, dense="steps", qkv_bias="attention_bias",
        qk_norm="head", quantised_router=True,
    ),
}  # fmt: skip
ARCHITECTURES = tuple(DIALECTS)


def build(config: Config, identity: Identity) -> ModelSpec:
    """Return the description of a mixture of experts; BadInput names a field that cannot be."""
    dialect = DIALECTS[architecture_of(config)]
    shape = shape_of(config, tied_by_default=dialect.tied)
    return mixture_model(config, identity, dialect, shape)


def mixture_model(config: Config, identity: Identity, dialect: Dialect, shape: Shape) -> ModelSpec:
    """Return the description of a model that speaks ``dialect``."""
    mixture = mixture_of(config, dialect, shape.layers)
    drafts = count(config, dialect.drafts) if dialect.drafts else 0
    own, extra = range(shape.layers), range(shape.layers, shape.layers + drafts)
    weights = [
        *decoder_attention(config, dialect, shape, own),
        *mixture_weights(mixture, shape.hidden, own),
        *embeddings(shape, norm=shape.hidden * (2 if dialect.layer_norm else 1)),
    ]
    if dialect.head_bias:
        head = next(group for group in weights if group.name == "lm_head")
        weights.append(replace(head, name="lm_head_bias", columns=1))
    if drafts:
        draft = [*decoder_attention(config, dialect, shape, extra), *mixture_weights(mixture, shape.hidden, extra)]
        weights += [replace(group, draft=True) for group in (*draft, *mtp_joint(shape.hidden, extra))]
    return describe(
        config, shape, identity, family="moe", intermediate_size=mixture.width, weights=weights,
        kv_groups=caches(config, shape), experts=mixture.count, experts_per_token=mixture.chosen,
        draft_layers=drafts, rotary_dim=_rotary(config, dialect, shape),
    )  # fmt: skip


def mixture_of(config: Config, dialect: Dialect, layers: int) -> Mixture:
    """Read the experts of a model."""
    field = next((name for name in dialect.number if config.get(name) is not None), dialect.number[0])
    number, width = whole(config, field), whole(config, dialect.width, whole(config, "intermediate_size"))
    dense = frozenset(DENSE_LAYERS[dialect.dense](config, layers))
    shared = count(config, dialect.shared_number) * width if dialect.shared_number else 0
    if dialect.shared_width:
        shared = count(config, dialect.shared_width)
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number, dialect.chosen),
        width=width,
        dense_width=whole(config, "intermediate_size") if dense else 0,
        shared_width=shared,
        shared_gate=dialect.shared_gate and shared > 0,
        dense_layers=dense,
        router_bytes=4 if dialect.float32_router else None,
        quantised_router=dialect.quantised_router,
        score_bias=_said(config, dialect.score_bias),
        module=dialect.module,
        shared="shared_expert." if dialect.shared_width else "shared_experts.",
        names=dialect.names,
    )


def decoder_attention(config: Config, dialect: Dialect, shape: Shape, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return attention of ``layers`` with the two norms of a layer, biases and norms of q and k."""
    groups = [
        *attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            qkv_bias=_said(config, dialect.qkv_bias), o_bias=dialect.o_bias,
        ),
        vector("layer_norms", shape.hidden * (4 if dialect.layer_norm else 2), layers),
    ]  # fmt: skip
    if dialect.qk_norm and (not dialect.qk_norm_field or flag(config, dialect.qk_norm_field, False)):
        groups += _qk_norms(dialect.qk_norm, shape, layers)
    return tuple(groups)


def _qk_norms(kind: str, shape: Shape, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    if kind == "head":
        return (vector("qk_norm", 2 * shape.head_dim, layers),)
    query = vector("q_norm", shape.heads * shape.head_dim, layers)
    key = vector("k_norm", shape.kv_heads * shape.head_dim, layers)
    if kind == "split":
        return (replace(query, split="out"), replace(key, split="kv", kv_heads=shape.kv_heads))
    return (query, key)


def _said(config: Config, choice: bool | str) -> bool:
    """Return what the architecture always has, or what its field says."""
    return flag(config, choice, False) if isinstance(choice, str) else choice


def _rotary(config: Config, dialect: Dialect, shape: Shape) -> int:
    if config.get("rotary_dim") is not None:
        return whole(config, "rotary_dim")
    return rotary_dimension(config, shape.head_dim, dialect.rotary)


def _none(_config: Config, _layers: int) -> Sequence[int]:
    return ()


def _first(config: Config, layers: int) -> Sequence[int]:
    return range(min(count(config, "first_k_dense_replace"), layers))


def _steps(config: Config, layers: int) -> Sequence[int]:
    """Layers named in ``mlp_only_layers``, and those between the steps of ``decoder_sparse_step``."""
    named = config.get("mlp_only_layers") or []
    if not isinstance(named, list) or not all(type(i) is int for i in named):
        raise BadInput("config.json: mlp_only_layers", f"{str(named)[:40]!r}", limit="a list of layer indices")
    step = whole(config, "decoder_sparse_step", 1)
    return [i for i in range(layers) if i in named or (i + 1) % step]


def _range(config: Config, layers: int) -> Sequence[int]:
    first = min(_indices(config, "moe_layer_start_index", 0))
    last = max(_indices(config, "moe_layer_end_index", layers - 1))
    step = whole(config, "moe_layer_interval", 1)
    return [i for i in range(layers) if not (first <= i <= last and (i + 1) % step == 0)]


def _indices(config: Config, key: str, default: int) -> list[int]:
    """ERNIE states one index for text, or a list with one for each kind of input; -1 is the default."""
    stated = config.get(key)
    numbers: list[int] = []
    for number in stated if isinstance(stated, list) and stated else [default if stated is None else stated]:
        if isinstance(number, bool) or not isinstance(number, int) or not -1 <= number < 1 << 20:
            raise BadInput(f"config.json: {key}", f"{str(stated)[:40]!r}", limit="layer indices")
        numbers.append(default if number == -1 else number)
    return numbers


DENSE_LAYERS: Mapping[str, Callable[[Config, int], Sequence[int]]] = {
    "": _none,
    "first": _first,
    "range": _range,
    "steps": _steps,
}
"""Rules for the layers without experts."""
