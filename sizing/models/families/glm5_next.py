"""GLM-5.3-Flash: Kimi Delta Attention with sparse latent attention between, pooled indexer keys, residual streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import layer_kinds, of_kind, text_config
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights, mtp_joint
from sizing.models.blocks.parts import Identity, Shape, describe, embeddings, vector
from sizing.models.blocks.recurrent import kda, kda_state, matrix
from sizing.models.families.kimi_linear import kda_shape
from sizing.models.families.mla import Indexer, Latent, indexer_weights, latent_attention, latent_caches, latent_shape
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("Glm5NextForCausalLM",)
KERNEL_ENTRIES = 64
"""Entries of a page of the indexer's kernel; blocks are a number of whole pages and of whole rows apart."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of the text part; reads ``text_config`` if nested."""
    text = text_config(config)
    shape, latent = latent_shape(text), _latent(text)
    kinds = layer_kinds(text, shape.layers)
    full, linear = of_kind(kinds, "full"), of_kind(kinds, "state")
    if len(full) + len(linear) != shape.layers or not full:
        raise BadInput("config.json: layer_types", "layers other than linear_attention and deepseek_sparse_attention")
    net, bounded = kda_shape(text)
    indexer, mixture = _indexer(text, full), _mixture(text, shape)
    drafts = count(text, "num_nextn_predict_layers")
    extra = range(shape.layers, shape.layers + drafts)
    own = (
        *_plain(kda(net, linear, hidden=shape.hidden)),
        *_sparse(text, shape, latent, indexer, full),
        *_streams(text, shape),
        *_block(mixture, shape, range(shape.layers)),
        *embeddings(shape),
    )
    draft = (
        *_sparse(text, shape, latent, indexer, extra),
        *_block(mixture, shape, extra),
        *mtp_joint(shape.hidden, extra),
    )
    return describe(
        text, shape, identity, family="linear-attention-hybrid", intermediate_size=mixture.width,
        weights=(*own, *(replace(group, draft=True) for group in draft if drafts)),
        kv_groups=(kda_state(net, linear, checkpoints=bounded), *_caches(text, latent, indexer, full)),
        experts=mixture.count, experts_per_token=mixture.chosen, draft_layers=drafts, rotary_dim=latent.rope,
    )  # fmt: skip


def _latent(config: Mapping[str, object]) -> Latent:
    """Return the sizes of latent attention; it may have no rotary part."""
    return Latent(
        query=whole(config, "q_lora_rank"),
        latent=whole(config, "kv_lora_rank"),
        nope=whole(config, "qk_nope_head_dim"),
        rope=count(config, "qk_rope_head_dim"),
        value=whole(config, "v_head_dim"),
    )


def _indexer(config: Mapping[str, object], full: tuple[int, ...]) -> Indexer:
    stated = config.get("indexer_types")
    if stated is not None and (not isinstance(stated, list) or any(kind != "full" for kind in stated)):
        raise BadInput("config.json: indexer_types", "layers that share an indexer are not modelled", limit="full")
    return Indexer(heads=whole(config, "index_n_heads"), head_dim=whole(config, "index_head_dim"), layers=full)


def _plain(groups: Sequence[WeightGroup]) -> tuple[WeightGroup, ...]:
    """Return matrices that the engine keeps in the model's type whatever the checkpoint's quantisation."""
    return tuple(replace(group, linear=False) for group in groups)


def _sparse(
    config: Mapping[str, object], shape: Shape, latent: Latent, indexer: Indexer, layers: Sequence[int]
) -> tuple[WeightGroup, ...]:
    """Return latent attention with the indexer and what pools its keys."""
    pool = whole(config, "index_kpool")
    return (
        *_plain(latent_attention(layers, latent, hidden=shape.hidden, heads=shape.heads)),
        *_plain(indexer_weights(indexer, shape.hidden, latent.query, layers)),
        matrix("index_pool_gate", indexer.head_dim, shape.hidden, layers, "replicated"),
        vector("index_pool_positions", pool * indexer.head_dim, layers, element_bytes=4),
    )


def _streams(config: Mapping[str, object], shape: Shape) -> tuple[WeightGroup, ...]:
    """Return what mixes the residual streams before attention and before the experts, in float32."""
    if not flag(config, "mhc", False):
        return ()
    streams = whole(config, "hc_mult")
    mixed = (2 + streams) * streams
    return (vector("streams", 2 * (mixed * (streams * shape.hidden + 1) + 3), range(shape.layers), element_bytes=4),)


def _block(mixture: Mixture, shape: Shape, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    return (*mixture_weights(mixture, shape.hidden, layers), vector("layer_norms", 2 * shape.hidden, layers))


def _mixture(config: Mapping[str, object], shape: Shape) -> Mixture:
    stated, number = config.get("mlp_layer_types"), whole(config, "n_routed_experts")
    known = isinstance(stated, list) and len(stated) == shape.layers and set(map(str, stated)) <= {"dense", "sparse"}
    if not known or not isinstance(stated, list):
        limit = f"{shape.layers} entries"
        raise BadInput("config.json: mlp_layer_types", "missing or not dense and sparse", limit=limit)
    width = whole(config, "moe_intermediate_size")
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number),
        width=width,
        dense_width=whole(config, "intermediate_size"),
        shared_width=count(config, "n_shared_experts") * width,
        dense_layers=frozenset(i for i, kind in enumerate(stated) if kind == "dense"),
        score_bias=config.get("topk_method") == "noaux_tc",
    )


def _caches(
    config: Mapping[str, object], latent: Latent, indexer: Indexer, full: tuple[int, ...]
) -> tuple[KvGroup, ...]:
    """Return the latent, the indexer's pooled keys, and the ring of keys that are not pooled yet."""
    pool = whole(config, "index_kpool")
    main, keys = latent_caches(latent, full, indexer)
    ring = KvGroup(
        kind="ring", layers=full, head_dim=indexer.head_dim, replicated=True, block_tokens=pool,
        page_bytes=pool * 2 * indexer.head_dim * 2,
    )  # fmt: skip
    stride = KERNEL_ENTRIES * keys.token_bytes(1)
    rows = replace(main, stride_bytes=main.token_bytes(2))
    return rows, replace(keys, tokens_per_entry=pool, stride_bytes=stride), ring
