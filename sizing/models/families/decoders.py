"""Dense decoders that differ from Llama in a few traits: OPT, GPT-2, GPT-NeoX, Falcon, Bloom, Phi, GLM and more.

A row of ``TRAITS`` says how one architecture differs: gated MLP or not, norms, biases, norms of q and k, what is tied.
Older files name their fields in other ways; ``ALIASES`` maps those to the usual names before anything is read.
Source: the model classes of vLLM 0.32.0, and of the last version that had them (MPT, Baichuan).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sizing.errors import BadInput
from sizing.models.blocks.fields import dtype_of, flag, whole
from sizing.models.blocks.parts import (
    Identity,
    Shape,
    architecture_of,
    attention,
    describe,
    embeddings,
    mlp,
    replicated,
    shape_of,
    vector,
)
from sizing.models.blocks.windows import caches
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import BYTES_OF_DTYPE, ModelSpec
from sizing.models.weight_groups import WeightGroup

Config = Mapping[str, object]
Switch = bool | tuple[str, bool]
"""True, False, or the field that says so with its default."""

ALIASES = {
    "hidden_size": ("n_embd", "d_model", "n_embed"),
    "num_hidden_layers": ("n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads"),
    "intermediate_size": ("n_inner", "ffn_dim", "ffn_hidden_size"),
    "max_position_embeddings": ("n_positions", "max_seq_len", "seq_length", "model_max_length"),
    "vocab_size": ("padded_vocab_size",),
    "head_dim": ("kv_channels",),
}


@dataclass(frozen=True, kw_only=True)
class Traits:
    """How a decoder differs from Llama."""

    gated: bool = True
    norms: int = 2
    """Norms of a layer."""
    norm_bias: bool = False
    final_norm: bool = True
    qkv_bias: Switch = False
    o_bias: Switch = False
    mlp_bias: Switch = False
    qk_norm: Literal["", "head", "heads", "width"] = ""
    """Norms of q and k: over one head, per head (split), or over all heads (on every rank)."""
    qk_norm_if: tuple[str, bool] = ("", True)
    tied: bool = False
    learned: int | None = None
    """Learned positions: rows beyond the context; None for rotary or linear biases."""
    rotary: float = 1.0
    """Share of a head that is rotated where the file does not say; 0: no rotary cache."""
    rotary_key: str = "partial_rotary_factor"
    head_bias: bool = False
    embedding_norm: bool = False
    split_mlp: bool = True
    plain_cache: bool = False
    """True where vLLM hands no cache settings to the attention, so that an fp8 cache is not used."""
    prepare: Callable[[dict[str, object]], Mapping[str, object]] | None = None
    """Rewrites fields that no alias covers."""
    adjust: Callable[[Config, Traits], Traits] | None = None
    """Changes the traits by what the file says."""


def build(config: Config, identity: Identity) -> ModelSpec:
    """Return the description of a decoder by its row of ``TRAITS``."""
    traits = TRAITS[architecture_of(config)]
    usual = _usual_names(config, traits)
    if traits.adjust:
        traits = traits.adjust(usual, traits)
    shape = shape_of(usual, tied_by_default=traits.tied)
    width = whole(usual, "intermediate_size", 4 * shape.hidden)
    table = whole(usual, "word_embed_proj_dim", shape.hidden)
    return describe(
        usual,
        shape,
        identity,
        family="dense-gqa" if shape.kv_heads < shape.heads else "dense-mha",
        intermediate_size=width,
        weights=(*_layers(usual, shape, traits, width), *_ends(shape, traits, table)),
        kv_groups=_caches(usual, shape, traits),
        rotary_dim=_rotary_dim(usual, shape, traits),
    )


def _caches(usual: Config, shape: Shape, traits: Traits) -> tuple[KvGroup, ...]:
    groups = caches(usual, shape)
    if not traits.plain_cache:
        return groups
    return tuple(replace(group, element_bytes=BYTES_OF_DTYPE[dtype_of(usual)]) for group in groups)


def _usual_names(config: Config, traits: Traits) -> Mapping[str, object]:
    usual = dict(config)
    for name, others in ALIASES.items():
        if usual.get(name) is None:
            usual[name] = next((config[other] for other in others if config.get(other) is not None), None)
    if usual.get("torch_dtype") is None and usual.get("dtype") is None:
        usual["torch_dtype"] = "float32"  # what a file without the field means
    return traits.prepare(usual) if traits.prepare else usual


def _on(config: Config, switch: Switch) -> bool:
    return switch if isinstance(switch, bool) else flag(config, *switch)


def _layers(config: Config, shape: Shape, traits: Traits, width: int) -> list[WeightGroup]:
    layers = range(shape.layers)
    inner = mlp(
        layers, hidden=shape.hidden, width=width, gated=traits.gated, bias=_on(config, traits.mlp_bias)
    )  # fmt: skip
    groups = [
        *attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            qkv_bias=_on(config, traits.qkv_bias), o_bias=_on(config, traits.o_bias),
        ),
        *(inner if traits.split_mlp else (replace(group, split="replicated") for group in inner)),
    ]  # fmt: skip
    if traits.norms:
        groups.append(vector("layer_norms", traits.norms * shape.hidden * (1 + traits.norm_bias), layers))
    if traits.qk_norm and (not traits.qk_norm_if[0] or flag(config, *traits.qk_norm_if)):
        groups += _qk_norms(shape, traits)
    return groups


def _qk_norms(shape: Shape, traits: Traits) -> tuple[WeightGroup, ...]:
    layers, dim = range(shape.layers), shape.head_dim
    if traits.qk_norm == "head":
        return (vector("qk_norm", 2 * dim, layers),)
    both = (vector("q_norm", shape.heads * dim, layers), vector("k_norm", shape.kv_heads * dim, layers))
    if traits.qk_norm == "width":
        return both
    return replace(both[0], split="out"), replace(both[1], split="kv", kv_heads=shape.kv_heads)


def _ends(shape: Shape, traits: Traits, table: int) -> list[WeightGroup]:
    """Return embeddings of ``table`` columns, with projections where the layers are of another width."""
    norm = shape.hidden * (1 + traits.norm_bias) if traits.final_norm else 0
    groups = [
        replace(group, columns=table) if group.split == "vocabulary" else group
        for group in embeddings(shape, norm=norm)
    ]
    if table != shape.hidden:
        project = replicated("project_in", shape.hidden, table, (0,))
        groups += [replace(project, place="first"), replace(project, name="project_out", place="last")]
    if traits.learned is not None:
        rows = shape.positions + traits.learned
        groups.append(replace(replicated("positions", rows, shape.hidden, (0,)), place="first"))
    if traits.embedding_norm:
        groups.append(replace(vector("embedding_norm", 2 * shape.hidden, (0,)), place="first"))
    if traits.head_bias:
        groups.append(replace(groups[0], name="head_bias", columns=1, place="last"))
    return groups


def _rotary_dim(config: Config, shape: Shape, traits: Traits) -> int:
    if not traits.rotary:
        return 0
    stated = config.get(traits.rotary_key)
    scaling = config.get("rope_parameters")
    if stated is None and isinstance(scaling, Mapping):
        stated = scaling.get("partial_rotary_factor")
    share = traits.rotary if stated is None else stated
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise BadInput(f"config.json: {traits.rotary_key}", f"{str(share)[:40]!r}", limit="above 0, up to 1")
    return whole(config, "rotary_dim", max(1, int(shape.head_dim * share)))


def _multi_query(config: dict[str, object]) -> Mapping[str, object]:
    return {**config, "num_key_value_heads": 1} if flag(config, "multi_query", True) else config


def _falcon(config: dict[str, object]) -> Mapping[str, object]:
    heads: object = config.get("num_attention_heads")
    if flag(config, "new_decoder_architecture", False):
        heads = config.get("num_kv_heads")
    elif flag(config, "multi_query", True):
        heads = 1
    length = config.get("max_position_embeddings")
    return {
        **config,
        "num_key_value_heads": heads,
        "max_position_embeddings": UNSTATED_LENGTH if length is None else length,
    }


def _falcon_traits(config: Config, traits: Traits) -> Traits:
    norms = 1 if flag(config, "parallel_attn", True) else 2
    if flag(config, "new_decoder_architecture", False):
        norms = whole(config, "num_ln_in_parallel_attn", 2)
    return replace(traits, norms=norms, rotary=0.0 if flag(config, "alibi", False) else 1.0)


def _bloom(config: dict[str, object]) -> Mapping[str, object]:
    """Its files state no length; vLLM then takes 2048 tokens (``_get_and_verify_max_len``)."""
    length = config.get("max_position_embeddings")
    return {**config, "max_position_embeddings": UNSTATED_LENGTH if length is None else length}


def _opt_traits(config: Config, traits: Traits) -> Traits:
    before = flag(config, "do_layer_norm_before", True)
    return replace(traits, final_norm=before and not flag(config, "_remove_final_layer_norm", False))


def _chatglm(config: dict[str, object]) -> Mapping[str, object]:
    groups = config.get("multi_query_group_num") if flag(config, "multi_query_attention", False) else None
    return {**config, "num_key_value_heads": groups}


def _mpt(config: dict[str, object]) -> Mapping[str, object]:
    inner = config.get("attn_config")
    heads = inner.get("kv_n_heads") if isinstance(inner, Mapping) else None
    if not flag(config, "no_bias", False):
        raise BadInput("config.json: no_bias", "MPT with biases is not modelled", way_out="supply --weights-gib")
    width = whole(config, "hidden_size") * whole(config, "expansion_ratio", 4)
    return {**config, "num_key_value_heads": heads, "intermediate_size": width}


def _baichuan_traits(config: Config, traits: Traits) -> Traits:
    """The 7B rotates, the 13B has linear biases; vLLM distinguishes them by their width (``BaiChuanForCausalLM``)."""
    return replace(traits, rotary=1.0 if whole(config, "hidden_size") == BAICHUAN_7B_WIDTH else 0.0)


def _qwen1(config: dict[str, object]) -> Mapping[str, object]:
    """``intermediate_size`` counts gate and up together."""
    return {**config, "intermediate_size": whole(config, "intermediate_size") // 2 or 1}


BAICHUAN_7B_WIDTH = 4096
UNSTATED_LENGTH = 2048
LLAMA = Traits(
    qkv_bias=("attention_bias", False), o_bias=("attention_bias", False), mlp_bias=("mlp_bias", False)
)  # fmt: skip
BIASED = Traits(gated=False, norm_bias=True, qkv_bias=True, o_bias=True, mlp_bias=True)

TRAITS: Mapping[str, Traits] = {
    "ApertusForCausalLM": replace(LLAMA, gated=False, qk_norm="head", qk_norm_if=("qk_norm", True)),
    "AquilaForCausalLM": LLAMA,
    "ArceeForCausalLM": replace(LLAMA, gated=False),
    "BaiChuanForCausalLM": Traits(adjust=_baichuan_traits),
    "BaichuanForCausalLM": Traits(adjust=_baichuan_traits),
    "BloomForCausalLM": replace(BIASED, tied=True, rotary=0.0, embedding_norm=True, prepare=_bloom),
    "ChatGLMForConditionalGeneration": Traits(prepare=_chatglm, qkv_bias=("add_qkv_bias", False), rotary=0.5),
    "ChatGLMModel": Traits(prepare=_chatglm, qkv_bias=("add_qkv_bias", False), rotary=0.5),
    "CohereForCausalLM": Traits(
        norms=1, tied=True, qk_norm="heads", qk_norm_if=("use_qk_norm", False), qkv_bias=("attention_bias", False),
        o_bias=("attention_bias", False),
    ),
    "Ernie4_5ForCausalLM": Traits(
        qkv_bias=("use_bias", False), o_bias=("use_bias", False), mlp_bias=("use_bias", False), tied=True
    ),
    "ExaoneForCausalLM": Traits(),
    "FalconForCausalLM": Traits(
        gated=False, norm_bias=True, qkv_bias=("bias", False), o_bias=("bias", False), mlp_bias=("bias", False),
        tied=True, prepare=_falcon, adjust=_falcon_traits, plain_cache=True,
    ),
    "GPT2LMHeadModel": replace(BIASED, tied=True, learned=0, rotary=0.0),
    "GPTBigCodeForCausalLM": replace(
        BIASED, tied=True, learned=0, rotary=0.0, split_mlp=False, prepare=_multi_query
    ),
    "GPTJForCausalLM": Traits(gated=False, norms=1, norm_bias=True, mlp_bias=True, head_bias=True),
    "GPTNeoXForCausalLM": replace(
        BIASED, qkv_bias=("attention_bias", True), o_bias=("attention_bias", True), rotary=0.25, rotary_key="rotary_pct"
    ),
    "Glm4ForCausalLM": Traits(norms=4, qkv_bias=("attention_bias", False), rotary=0.5),
    "GlmForCausalLM": Traits(qkv_bias=("attention_bias", False), rotary=0.5),
    "GraniteForCausalLM": LLAMA,
    "HunYuanDenseV1ForCausalLM": replace(LLAMA, qk_norm="head", qk_norm_if=("use_qk_norm", True), tied=True),
    "InternLM2ForCausalLM": Traits(qkv_bias=("bias", False), o_bias=("bias", False)),
    "InternLM3ForCausalLM": Traits(qkv_bias=("qkv_bias", False), o_bias=("bias", False), mlp_bias=("bias", False)),
    "LLaMAForCausalLM": LLAMA,
    "MPTForCausalLM": Traits(gated=False, tied=True, rotary=0.0, prepare=_mpt),
    "MiMoForCausalLM": Traits(qkv_bias=("attention_bias", True)),
    "MiniCPMForCausalLM": Traits(tied=True),
    "Ministral3ForCausalLM": LLAMA,
    "NemotronForCausalLM": replace(LLAMA, gated=False, norm_bias=True),
    "OPTForCausalLM": replace(
        BIASED, tied=True, learned=2, rotary=0.0, qkv_bias=("enable_bias", True), o_bias=("enable_bias", True),
        mlp_bias=("enable_bias", True), adjust=_opt_traits,
    ),
    "Olmo2ForCausalLM": replace(LLAMA, qk_norm="width"),
    "OlmoForCausalLM": replace(LLAMA, norms=0, final_norm=False),
    "OrionForCausalLM": Traits(norm_bias=True),
    "PhiForCausalLM": replace(BIASED, norms=1, rotary=0.5),
    "QWenLMHeadModel": Traits(qkv_bias=True, prepare=_qwen1),
    "SeedOssForCausalLM": Traits(
        qkv_bias=("attention_bias", True), o_bias=("attention_out_bias", False), mlp_bias=("mlp_bias", False)
    ),
    "SmolLM3ForCausalLM": replace(LLAMA, tied=True),
    "SolarForCausalLM": LLAMA,
    "StableLmForCausalLM": Traits(norm_bias=True, qkv_bias=("use_qkv_bias", False), rotary=0.25),
    "TeleChat3ForCausalLM": LLAMA,
    "XverseForCausalLM": LLAMA,
}  # fmt: skip
ARCHITECTURES = tuple(TRAITS)
