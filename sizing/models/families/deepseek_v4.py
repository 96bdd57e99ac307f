"""DeepSeek-V4: compressed attention. Tokens become one entry per 4 or 128, beside a window of the last 128 tokens.

A layer that compresses 4 tokens to one chooses among the entries with an indexer; its compressors keep a short
state. Residual streams are several and mixed by small matrices (hyper-connections). Source: vLLM 0.32.0,
``models/deepseek_v4``; cache pages are the packed fp8 layout, which vLLM takes on its own for this model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, whole
from sizing.models.blocks.mixture import Mixture, chosen_experts, mixture_weights
from sizing.models.blocks.parts import LAYER, Identity, Shape, describe, embeddings, replicated, shape_of, vector
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("DeepseekV4ForCausalLM",)
FINE, COARSE = 4, 128
"""Tokens of one compressed entry."""
BLOCK_TOKENS = 256
WINDOW_BLOCK_TOKENS = 64
STATE_BLOCK_TOKENS = {FINE: 4, COARSE: 8}
PAGE_ALIGNMENT = 576
"""Bytes to whose multiple every page is padded."""
SCALE_BYTES = 8
"""Scales of one entry in fp8, with padding."""
OLDEST_VERSION = "0.32.0"
"""Earlier versions group and pad these caches in other ways."""
PADDED_HEADS = 64
"""Query heads of a rank are padded to at least this many (``get_padded_num_q_heads``)."""
OVERLAP = {FINE: 2, COARSE: 1}
"""Groups of tokens that one entry is made of."""
FLOAT32_TABLES = 4
"""Two rotary caches in float32, in units of two bytes an element."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of compressed attention in elements and the layers of each ratio."""

    query: int
    rope: int
    output: int
    output_groups: int
    index_heads: int
    index_dim: int
    window: int
    streams: int
    fine: tuple[int, ...]
    coarse: tuple[int, ...]


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a DeepSeek-V4 model, without its layers for multi-token prediction."""
    shape = shape_of({**config, "num_key_value_heads": 1})
    sizes, mixture = sizes_of(config, shape.layers), mixture_of(config)
    layers = range(shape.layers)
    weights = (
        *_attention(shape, sizes, layers),
        *_compressor(shape.head_dim, FINE, shape.hidden, sizes.fine),
        *_compressor(shape.head_dim, COARSE, shape.hidden, sizes.coarse),
        *_compressor(sizes.index_dim, FINE, shape.hidden, sizes.fine),
        *_indexer(shape, sizes),
        *mixture_weights(mixture, shape.hidden, layers),
        *_routing(config, shape, mixture, layers),
        *_streams(shape.hidden, sizes.streams, layers),
        *embeddings(shape),
    )
    return describe(
        config, shape, identity, family="compressed-attention", intermediate_size=mixture.width, weights=weights,
        kv_groups=caches(shape, sizes), experts=mixture.count, experts_per_token=mixture.chosen,
        rotary_dim=sizes.rope, rotary_tables=FLOAT32_TABLES, least_version=OLDEST_VERSION,
        activation_elements=2 * PADDED_HEADS * shape.head_dim + 4 * sizes.streams * shape.hidden,
    )  # fmt: skip


def sizes_of(config: Mapping[str, object], layers: int) -> Sizes:
    """Read the sizes; BadInput for a ratio that is not 0, 1, 4 or 128, or fewer ratios than layers."""
    ratios = config.get("compress_ratios")
    known = (0, 1, FINE, COARSE)
    if not isinstance(ratios, list) or len(ratios) < layers or not all(type(r) is int and r in known for r in ratios):
        raise BadInput("config.json: compress_ratios", f"{str(ratios)[:40]}", limit=f"{layers} times 0, 4 or 128")
    return Sizes(
        query=whole(config, "q_lora_rank"),
        rope=whole(config, "qk_rope_head_dim"),
        output=whole(config, "o_lora_rank"),
        output_groups=whole(config, "o_groups"),
        index_heads=whole(config, "index_n_heads"),
        index_dim=whole(config, "index_head_dim"),
        window=whole(config, "sliding_window"),
        streams=whole(config, "hc_mult"),
        fine=tuple(i for i in range(layers) if ratios[i] == FINE),
        coarse=tuple(i for i in range(layers) if ratios[i] == COARSE),
    )


def mixture_of(config: Mapping[str, object]) -> Mixture:
    """Read the experts: in every layer, with one shared MLP."""
    number, width = whole(config, "n_routed_experts"), whole(config, "moe_intermediate_size")
    return Mixture(
        count=number,
        chosen=chosen_experts(config, number),
        width=width,
        shared_width=count(config, "n_shared_experts") * width,
        module="ffn.",
    )


def caches(shape: Shape, sizes: Sizes) -> tuple[KvGroup, ...]:
    """Return the caches with their own pages: entries, indexer keys, the window, and the compressors' states."""
    entry = (shape.head_dim - sizes.rope) + 2 * sizes.rope + SCALE_BYTES
    key = sizes.index_dim + 4 * (sizes.index_dim // 128)
    full = KvGroup(kind="latent", layers=sizes.fine, block_tokens=BLOCK_TOKENS, replicated=True)
    window = replace(
        full, kind="sliding", layers=range(shape.layers), window=sizes.window, block_tokens=WINDOW_BLOCK_TOKENS,
        page_bytes=_page(WINDOW_BLOCK_TOKENS * entry),
    )  # fmt: skip
    return (
        window,
        replace(full, layers=sizes.coarse, page_bytes=_page(BLOCK_TOKENS // COARSE * entry)),
        replace(full, page_bytes=_page(BLOCK_TOKENS // FINE * entry)),
        replace(full, page_bytes=_page(BLOCK_TOKENS // FINE * key)),
        _state(window, FINE, shape.head_dim, sizes.fine),
        _state(window, FINE, sizes.index_dim, sizes.fine),
        _state(window, COARSE, shape.head_dim, sizes.coarse),
    )


def _state(like: KvGroup, ratio: int, width: int, layers: Sequence[int]) -> KvGroup:
    """Return the compressor's state, in float32: keys and gates of the tokens that are not yet an entry."""
    tokens, elements = STATE_BLOCK_TOKENS[ratio], 2 * OVERLAP[ratio] * width
    page = _page(tokens * elements * 4)
    return replace(like, layers=layers, window=OVERLAP[ratio] * ratio, block_tokens=tokens, page_bytes=page)


def _page(size: int) -> int:
    return -(-size // PAGE_ALIGNMENT) * PAGE_ALIGNMENT


def _attention(shape: Shape, sizes: Sizes, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    path, inner = LAYER + "attn.", sizes.output_groups * sizes.output
    up = WeightGroup(
        name="wq_b", rows=shape.heads * shape.head_dim, columns=sizes.query, split="out", layers=layers,
        path=path + "wq_b",
    )  # fmt: skip
    wide = shape.heads * shape.head_dim // sizes.output_groups
    return (
        replicated("wq_a", sizes.query, shape.hidden, layers, path=path + "wq_a"),
        replicated("wkv", shape.head_dim, shape.hidden, layers, path=path + "wkv"),
        up,
        replace(up, name="wo_a", rows=inner, columns=wide, path=path + "wo_a"),
        replace(up, name="wo_b", rows=shape.hidden, columns=inner, split="in", path=path + "wo_b"),
        vector("norms", 2 * shape.hidden + sizes.query + shape.head_dim, layers),
        replace(vector("sinks", shape.heads, layers, element_bytes=4), split="out"),
    )


def _compressor(width: int, ratio: int, hidden: int, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    wide = OVERLAP[ratio] * width
    return (
        vector("compressor_position", ratio * wide, layers, element_bytes=4),
        replicated("compressor_wkv_wgate", 2 * wide, hidden, layers),
        vector("compressor_norm", width, layers),
    )


def _indexer(shape: Shape, sizes: Sizes) -> tuple[WeightGroup, ...]:
    rows = sizes.index_heads * sizes.index_dim
    return (
        replicated("index_wq_b", rows, sizes.query, sizes.fine, path=LAYER + "attn.indexer.wq_b"),
        replicated("index_weights", sizes.index_heads, shape.hidden, sizes.fine),
    )


def _routing(
    config: Mapping[str, object], shape: Shape, mixture: Mixture, layers: Sequence[int]
) -> tuple[WeightGroup, ...]:
    """Return what chooses experts: a table from token to experts in the first layers, a bias in the others."""
    hashed = count(config, "num_hash_layers")
    return (
        vector("token_experts", shape.vocabulary * mixture.chosen, layers[:hashed], element_bytes=4),
        vector("score_bias", mixture.count, layers[hashed:], element_bytes=4),
    )


def _streams(hidden: int, streams: int, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return the matrices in float32 that mix the residual streams before attention, experts and head."""
    rows = streams * (streams + 2)
    mixing = vector("stream_mixing", 2 * (rows * streams * hidden + rows + 3), layers, element_bytes=4)
    head = vector("stream_head", streams * streams * hidden + streams + 1, (0,), element_bytes=4)
    return (mixing, replace(head, place="last"))
