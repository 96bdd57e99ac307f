"""Multi-head latent attention (MLA) with experts: DeepSeek-V2, V3, R1, V3.2, Kimi-K2, GLM-5, GLM-4.7-Flash.

The cache keeps one latent vector with its rotary part per token, on every rank. DeepSeek-V3.2 and GLM-5 choose the
tokens to attend to with an indexer: a small matrix of its own per layer, and keys in fp8 in a cache of its own;
GLM-5.2 shares the choice between layers. Source: vLLM 0.32.0, ``model_executor/models/deepseek_v2.py``,
``glm4_moe_lite.py`` and ``models/deepseek_v32``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights, mtp_joint
from sizing.models.blocks.parts import (
    LAYER,
    Identity,
    Shape,
    architecture_of,
    describe,
    embeddings,
    replicated,
    shape_of,
    vector,
)
from sizing.models.kv_groups import KvGroup
from sizing.models.quantisation.config import Quantisation, quantisation_of
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = (
    "DeepseekV2ForCausalLM",
    "DeepseekV3ForCausalLM",
    "DeepseekV32ForCausalLM",
    "Glm4MoeLiteForCausalLM",
    "GlmMoeDsaForCausalLM",
)
ROUTER_FLOAT32 = ("Glm4MoeLiteForCausalLM",)
"""Architectures whose router vLLM keeps in float32."""
SPARSE_FP8_TOKEN_BYTES = 656
"""The ``fp8_ds_mla`` layout of sparse attention: 512 values in fp8, 4 scales in float32, 64 rotary in bfloat16."""
INDEXER_SCALE_ELEMENTS = 128
"""Elements of an indexer key under one scale in float32."""


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Sizes of latent attention in elements; ``query`` 0 where queries are not compressed."""

    query: int
    latent: int
    nope: int
    rope: int
    value: int

    @property
    def cached(self) -> int:
        """Elements of one token in the cache."""
        return self.latent + self.rope


@dataclass(frozen=True, kw_only=True)
class Indexer:
    """Sizes of the indexer and the layers that have one."""

    heads: int
    head_dim: int
    layers: tuple[int, ...]


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a model with latent attention; BadInput names a field that cannot be."""
    shape, latent = latent_shape(config), latent_of(config)
    mixture = mixture_of(config, shape)
    drafts = count(config, "num_nextn_predict_layers")
    own, extra = range(shape.layers), range(shape.layers, shape.layers + drafts)
    indexer = indexer_of(config, shape)
    weights = [*_block(shape, latent, own), *mixture_weights(mixture, shape.hidden, own)]
    if indexer:
        weights += indexer_weights(indexer, shape.hidden, latent.query, indexer.layers)
    weights += absorbed(quantisation_of(config), latent, shape.heads, own)
    if drafts:
        draft = [*_block(shape, latent, extra), *mixture_weights(mixture, shape.hidden, extra)]
        draft += indexer_weights(indexer, shape.hidden, latent.query, extra) if indexer else ()
        weights += [replace(group, draft=True) for group in (*draft, *mtp_joint(shape.hidden, extra))]
    return describe(
        config, shape, identity, family="mla", intermediate_size=mixture.width or mixture.dense_width,
        weights=(*weights, *embeddings(shape)), kv_groups=latent_caches(latent, own, indexer),
        experts=mixture.count, experts_per_token=mixture.chosen, draft_layers=drafts, rotary_dim=latent.rope,
        rotary_tables=2 if indexer and not flag(config, "indexer_rope_interleave", False) else 1,
        context_elements=0 if indexer else shape.heads * (latent.nope + latent.value),
    )  # fmt: skip


def latent_shape(config: Mapping[str, object]) -> Shape:
    """Read the common fields; all heads of a rank share one latent, so there is one KV head."""
    heads = {"num_key_value_heads": 1, "head_dim": whole(config, "qk_nope_head_dim")}
    return shape_of({**config, **heads})


def latent_of(config: Mapping[str, object]) -> Latent:
    """Read the sizes of latent attention; a missing ``q_lora_rank`` means that queries are not compressed."""
    return Latent(
        query=count(config, "q_lora_rank"),
        latent=whole(config, "kv_lora_rank"),
        nope=whole(config, "qk_nope_head_dim"),
        rope=whole(config, "qk_rope_head_dim"),
        value=whole(config, "v_head_dim"),
    )


def mixture_of(config: Mapping[str, object], shape: Shape) -> Mixture:
    """Read the experts: DeepSeek's names, the first layers dense, shared experts as one MLP."""
    number = count(config, "n_routed_experts")
    step = whole(config, "moe_layer_freq", 1)
    first = count(config, "first_k_dense_replace")
    float32 = architecture_of(config) in ROUTER_FLOAT32
    biased = float32 or config.get("topk_method") == "noaux_tc"
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number),
        width=whole(config, "moe_intermediate_size") if number else 0,
        dense_width=whole(config, "intermediate_size"),
        shared_width=count(config, "n_shared_experts") * (whole(config, "moe_intermediate_size") if number else 0),
        dense_layers=frozenset(i for i in range(shape.layers) if not number or i < first or i % step),
        router_bytes=4 if float32 else None,
        score_bias=biased,
    )


def latent_attention(
    layers: Sequence[int], latent: Latent, *, hidden: int, heads: int, path: str = LAYER + "self_attn."
) -> tuple[WeightGroup, ...]:
    """Return the projections of latent attention: down on every rank, up and out split by heads."""
    query = [
        replicated("q_a_proj", latent.query, hidden, layers, path=path + "q_a_proj"),
        vector("q_a_layernorm", latent.query, layers),
    ]
    up = WeightGroup(
        name="q_b_proj", rows=heads * (latent.nope + latent.rope), columns=latent.query, split="out", layers=layers,
        path=path + "q_b_proj",
    )  # fmt: skip
    kv_b = replace(
        up, name="kv_b_proj", rows=heads * (latent.nope + latent.value), columns=latent.latent, path=path + "kv_b_proj"
    )
    return (
        *(query if latent.query else ()),
        up if latent.query else replace(up, name="q_proj", columns=hidden, path=path + "q_proj"),
        replicated("kv_a_proj", latent.cached, hidden, layers, path=path + "kv_a_proj_with_mqa"),
        vector("kv_a_layernorm", latent.latent, layers),
        kv_b,
        replace(up, name="o_proj", rows=hidden, columns=heads * latent.value, split="in", path=path + "o_proj"),
    )


def absorbed(
    quantisation: Quantisation, latent: Latent, heads: int, layers: Sequence[int], *, path: str = LAYER + "self_attn."
) -> tuple[WeightGroup, ...]:
    """Return the copy of ``kv_b_proj`` in the model's type, which absorbs it into the queries.

    A matrix that is not quantised is only viewed, without a copy (``split_kv_b_proj``).
    """
    stored = tuple(i for i in layers if not quantisation.scheme_of(path.format(i=i) + "kv_b_proj").plain)
    group = WeightGroup(
        name="absorbed_kv_b", rows=heads * (latent.nope + latent.value), columns=latent.latent, split="out",
        layers=stored, linear=False, derived=True,
    )  # fmt: skip
    return (group,) if stored else ()


def indexer_of(config: Mapping[str, object], shape: Shape) -> Indexer | None:
    """Return the indexer, or None for a model that attends to every token; some layers reuse another's choice."""
    if config.get("index_topk") is None:
        return None
    whole(config, "index_topk")
    return Indexer(
        heads=whole(config, "index_n_heads"),
        head_dim=whole(config, "index_head_dim"),
        layers=tuple(i for i in range(shape.layers) if not _shares(config, i)),
    )


def _shares(config: Mapping[str, object], layer: int) -> bool:
    """Return True where the layer takes the tokens that an earlier layer chose."""
    pattern = config.get("index_topk_pattern")
    if pattern is not None:
        if not isinstance(pattern, str | list) or not all(kind in ("F", "S") for kind in pattern):
            raise BadInput("config.json: index_topk_pattern", f"{str(pattern)[:40]!r}", limit="a sequence of F and S")
        return layer < len(pattern) and pattern[layer] == "S"
    offset = count(config, "index_skip_topk_offset", 2)
    return max(layer - offset + 1, 0) % whole(config, "index_topk_freq", 1) != 0


def indexer_weights(indexer: Indexer, hidden: int, query: int, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return the indexer's matrices, whole on every rank; key and head weights are never quantised."""
    if not query:
        raise BadInput("config.json: q_lora_rank", "missing in a model with an indexer")
    path = LAYER + "self_attn.indexer."
    return (
        replicated("index_wq_b", indexer.heads * indexer.head_dim, query, layers, path=path + "wq_b"),
        replicated("index_wk_weights", indexer.head_dim + indexer.heads, hidden, layers),
        vector("index_k_norm", 2 * indexer.head_dim, layers, element_bytes=4),
    )


def latent_caches(latent: Latent, layers: Sequence[int], indexer: Indexer | None) -> tuple[KvGroup, ...]:
    """Return the cache of the latent and, where there is an indexer, that of its keys in fp8 with scales."""
    main = KvGroup(
        kind="latent", layers=layers, head_dim=latent.cached, head_dim_v=0, replicated=True,
        fp8_token_bytes=SPARSE_FP8_TOKEN_BYTES if indexer else None,
    )  # fmt: skip
    if indexer is None:
        return (main,)
    scales = 4 * (indexer.head_dim // INDEXER_SCALE_ELEMENTS)
    keys = replace(
        main, layers=indexer.layers, head_dim=indexer.head_dim, element_bytes=1, extra_bytes=scales,
        fp8_token_bytes=None,
    )  # fmt: skip
    return (main, keys)


def _block(shape: Shape, latent: Latent, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    attention = latent_attention(layers, latent, hidden=shape.hidden, heads=shape.heads)
    return (*attention, vector("layer_norms", 2 * shape.hidden, layers))
