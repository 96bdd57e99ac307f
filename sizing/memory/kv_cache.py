"""How vLLM lays the KV cache out: layers in groups, pages in blocks, blocks of a request.

One pool of blocks serves every group of layers. A block holds one page of every layer of a group, so a group
of fewer layers wastes the rest, and pages of different sizes are made equal first. What a request of
``max_model_len`` tokens needs is the sum over the groups of the blocks that each must keep:

    full attention, MLA   ceil(length / block)
    window = context      ceil(length / block) + 1
    sliding window        ceil(min(window - 1 + tokens in flight, length) / block) + 1
    chunked attention     ceil(min(chunk + tokens in flight, length) / block)
    recurrent state       1 (2 with prefix caching, 3 where checkpoints are taken) + speculative tokens
    cross attention       ceil(encoder budget / block), which is the batch; in V0 the encoder's positions
    ring of raw keys      1

Source: vLLM ``v1/core/kv_cache_utils.py`` and ``v1/kv_cache_interface.py`` of 0.32.0, older rules by version in
``catalogue/engine_defaults.json``; recorded answers of the real code in ``tests/oracle``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import lcm

from sizing.engine.versions import VersionRules
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import BYTES_OF_DTYPE, ModelSpec
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings

LATENT_BLOCK = 128
"""Hybrids of MLA and recurrent layers align blocks to this many tokens (vLLM ``platforms/interface.py``)."""
SPARSE_BLOCK = 64
"""Sparse attention with an indexer has blocks of at least this many tokens."""


PLAIN_FP8 = "fp8_e4m3"
"""FlashInfer's sparse attention (Blackwell) keeps one byte an element; ``fp8`` elsewhere means ``fp8_ds_mla``."""


MOSTLY_EQUAL = 1.5
"""Up to this ratio of layer counts the larger count is the size of a group, and the smaller is padded."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One block of one layer, for layers that are alike. Bytes are those of one rank."""

    layers: tuple[int, ...]
    bytes: int
    """Padded to the pages of the other groups."""


@dataclass(frozen=True, kw_only=True)
class CacheGroup:
    """Layers that share one block table."""

    kind: str
    pages: tuple[Page, ...]
    block_tokens: int
    window: int = 0
    checkpoint_blocks: int = 0

    def bytes_per_block(self, stage: Stage) -> int:
        """Bytes of one block of the layers that a stage holds."""
        return sum(page.bytes * len(stage.held(page.layers)) for page in self.pages)


@dataclass(frozen=True, kw_only=True)
class CacheLayout:
    """Groups of one rank of tensor parallelism over all stages. Sizes in bytes and tokens."""

    groups: tuple[CacheGroup, ...]
    blocks_per_request: int
    """Blocks that a request of max_model_len tokens holds at most, over all groups."""
    stride_bytes: int = 1
    """Bytes of which a block is a multiple."""

    def bytes_per_block(self, stage: Stage) -> int:
        """Bytes of one block on a stage: the widest group counts."""
        widest = max((group.bytes_per_block(stage) for group in self.groups), default=0)
        return -(-widest // self.stride_bytes) * self.stride_bytes

    @property
    def block_tokens(self) -> int:
        """Tokens of the smallest block, in which older versions print the capacity."""
        return min((group.block_tokens for group in self.groups), default=1)


@dataclass(frozen=True, kw_only=True)
class _Layers:
    """Layers with the same page, before they are cut into groups."""

    source: KvGroup
    layers: tuple[int, ...]
    block: int
    page: int


@lru_cache(maxsize=1024)
def cache_layout(model: ModelSpec, engine: EngineSettings, rules: VersionRules) -> CacheLayout:
    """Return the groups of ``model`` under these settings; no groups where nothing is cached."""
    sets = _sets(model, engine)
    if rules.windows == "full":
        sets = [item for item in sets if item.source.kind != "state" or rules.engine != "V0"]
    if any(item.source.page_bytes for item in sets):
        groups = _packed(sets)
    elif len({_slots(item.source, rules) for item in sets}) <= 1:
        groups = [_together(sets)] if sets else []
    else:
        groups = _cut(_merge(_same_page(sets)))
    blocks = sum(_blocks(group, engine, rules) for group in groups)
    strides = [item.source.stride_bytes for item in sets if item.source.stride_bytes and rules.aligned_blocks]
    return CacheLayout(groups=tuple(groups), blocks_per_request=blocks, stride_bytes=lcm(*strides))


def capacity_tokens(layout: CacheLayout, engine: EngineSettings, rules: VersionRules, blocks: int) -> int:
    """Return "GPU KV cache size" as that version prints it for ``blocks`` blocks."""
    if not layout.groups:
        return 0
    if rules.kv_tokens == "concurrency":
        return int(blocks / layout.blocks_per_request * engine.max_model_len)
    return blocks // len(layout.groups) * layout.block_tokens * engine.decode_context_parallel


def _sets(model: ModelSpec, engine: EngineSettings) -> list[_Layers]:
    """Return the layers by kind of cache with their own pages, blocks as vLLM chooses them."""
    block = _block_tokens(model, engine)
    found = []
    for group in _with_draft(model, engine):
        own = group.block_tokens or block
        page = group.page_bytes or _page(model, engine, group, own)
        found.append(_Layers(source=group, layers=tuple(group.layers), block=own, page=page))
    return found


def _with_draft(model: ModelSpec, engine: EngineSettings) -> tuple[KvGroup, ...]:
    """Add the layers of multi-token prediction to the first group that keeps every token, and to its indexer."""
    if not (engine.num_speculative_tokens and engine.speculative_method == "mtp" and model.draft_layers):
        return model.kv_groups
    extra = tuple(range(model.num_layers, model.num_layers + model.draft_layers))
    at = next((i for i, group in enumerate(model.kv_groups) if group.grows), None)
    return tuple(
        replace(group, layers=(*group.layers, *extra)) if index == at or group.element_bytes else group
        for index, group in enumerate(model.kv_groups)
    )


def _page(model: ModelSpec, engine: EngineSettings, group: KvGroup, block: int) -> int:
    if group.kind == "state":
        return group.state_bytes(BYTES_OF_DTYPE[model.dtype], engine.tensor_parallel, engine.num_speculative_tokens)
    entry = replace(group, tokens_per_entry=1)
    return block // group.tokens_per_entry * _token_bytes(model, engine, entry)


def _token_bytes(model: ModelSpec, engine: EngineSettings, group: KvGroup) -> int:
    if engine.kv_cache_dtype == PLAIN_FP8:
        group = replace(group, fp8_token_bytes=None)
    return group.token_bytes(model.kv_element_bytes(engine.kv_cache_dtype), engine.tensor_parallel)


def _block_tokens(model: ModelSpec, engine: EngineSettings) -> int:
    """Return the tokens of a block; it grows until a page of attention holds the largest recurrent state.

    Layers of a draft model do not count.
    """
    attention = [group for group in model.kv_groups if group.grows and group.layers[0] < model.num_layers]
    states = [group for group in model.kv_groups if group.kind == "state"]
    if not states and any(group.kind == "latent" and group.element_bytes for group in attention):
        return max(engine.block_size, SPARSE_BLOCK)
    if not attention or not states:
        return engine.block_size
    align = max(engine.block_size, LATENT_BLOCK) if attention[0].kind == "latent" else engine.block_size
    token = max(_token_bytes(model, engine, group) for group in attention)
    state = max(_page(model, engine, group, 1) for group in states)
    return max(engine.block_size, align * -(-state // (align * token)))


def _slots(group: KvGroup, rules: VersionRules) -> tuple[str, int]:
    """Return the kind and window by which vLLM groups layers: those with equal token slots share a group."""
    whole = group.grows or (rules.windows == "full" and group.kind in {"sliding", "chunked"})
    if rules.windows == "full" and whole:
        return "grows", 0
    return ("grows" if whole else group.kind), group.window


def _together(sets: Sequence[_Layers]) -> CacheGroup:
    """Return one group of all layers; pages keep their own size."""
    first = sets[0]
    kind = "full" if any(item.source.grows for item in sets) else first.source.kind
    return CacheGroup(
        kind=kind, pages=tuple(map(_paged, sets)), block_tokens=first.block, window=first.source.window,
        checkpoint_blocks=first.source.checkpoint_blocks,
    )  # fmt: skip


def _paged(item: _Layers) -> Page:
    return Page(layers=item.layers, bytes=item.page)


def _packed(sets: Sequence[_Layers]) -> list[CacheGroup]:
    """Return the groups of layers whose pages keep their own sizes and are packed into one block.

    A kind with equally many layers of each page size is a repeating pattern; such kinds are cut into groups of the
    same number of repeats, with the least padding (``_get_packed_kv_cache_groups``). Other kinds stay whole.
    """
    kinds: dict[tuple[bool, int, int], list[_Layers]] = {}
    for item in _padded_states(sets):
        kinds.setdefault((item.source.grows, item.block, item.source.window), []).append(item)
    even = [alike for alike in kinds.values() if len({len(item.layers) for item in alike}) == 1]
    least = max((len(alike[0].layers) for alike in even if len(alike) > 1), default=0)
    repeats = _least_padding([len(alike[0].layers) for alike in even], least)
    groups = []
    anchor = max(sum(len(item.layers) * item.page for item in alike if _whole(item)) for alike in kinds.values())
    for alike in kinds.values():
        number = -(-len(alike[0].layers) // repeats) if least and alike in even else 1
        if not _whole(alike[0]):
            number = max(number, -(-len(alike[0].layers) // max(anchor // alike[0].page, 1)))
        for index in range(number):
            pages = tuple(_paged(replace(item, layers=item.layers[index::number])) for item in alike)
            first = alike[0].source
            groups.append(
                CacheGroup(
                    kind=first.kind,
                    pages=pages,
                    block_tokens=alike[0].block,
                    window=first.window,
                    checkpoint_blocks=first.checkpoint_blocks,
                )
            )
    return groups


def _whole(item: _Layers) -> bool:
    """Return True where the layers of a kind may widen the block; states go into blocks of the others' width."""
    return item.source.kind not in {"state", "ring"}


def _padded_states(sets: Sequence[_Layers]) -> list[_Layers]:
    """Pad the pages of recurrent states to the largest page of the layers that keep every token."""
    page = max((item.page for item in sets if item.source.grows), default=0)
    return [replace(item, page=max(page, item.page)) if item.source.kind == "state" else item for item in sets]


def _least_padding(counts: Sequence[int], least: int) -> int:
    """Return argmin over size >= ``least`` of sum(-count mod size), the layers of padding; on ties the largest size."""
    sizes = range(max(1, least), max(counts, default=1) + 1)
    return min(sizes, key=lambda size: (sum(-count % size for count in counts), -size), default=max(1, least))


def _same_page(sets: Sequence[_Layers]) -> list[_Layers]:
    """Make all pages as large as the largest: by a larger block where it divides the page, else by padding."""
    largest = max(item.page for item in sets)
    out = []
    for item in sets:
        factor = largest // item.page if item.source.kind != "state" and largest % item.page == 0 else 1
        out.append(replace(item, block=item.block * factor, page=largest))
    return out


def _merge(sets: Sequence[_Layers]) -> list[_Layers]:
    """Join layers with the same cache, wherever they are in the model."""
    joined: dict[object, _Layers] = {}
    for item in sets:
        key = (replace(item.source, layers=()), item.block, item.page)
        same = joined.get(key)
        layers = tuple(sorted((*same.layers, *item.layers))) if same else item.layers
        joined[key] = replace(item, layers=layers)
    return list(joined.values())


def _cut(sets: Sequence[_Layers]) -> list[CacheGroup]:
    """Cut the layers of each kind into groups of one size: of n groups, layer i goes to group i mod n."""
    counts = [len(item.layers) for item in sets]
    size = max(counts) if max(counts) < MOSTLY_EQUAL * min(counts) else min(counts)
    groups = []
    for item in sets:
        number = -(-len(item.layers) // size)
        for index in range(number):
            part = _paged(replace(item, layers=item.layers[index::number]))
            groups.append(
                CacheGroup(
                    kind=item.source.kind,
                    pages=(part,),
                    block_tokens=item.block,
                    window=item.source.window,
                    checkpoint_blocks=item.source.checkpoint_blocks,
                )
            )
    return groups


def _blocks(group: CacheGroup, engine: EngineSettings, rules: VersionRules) -> int:
    """Return the blocks that one request of max_model_len holds in this group."""
    length, block = engine.max_model_len, group.block_tokens
    in_flight = engine.max_num_batched_tokens * (rules.in_flight_batches + engine.pipeline_parallel - 1)
    if group.kind == "state":
        kept = rules.state_blocks_with_prefix_caching if engine.enable_prefix_caching else 1
        checkpoints = group.checkpoint_blocks if engine.enable_prefix_caching and rules.state_checkpoints else 0
        return kept + checkpoints + engine.num_speculative_tokens
    if group.kind == "ring":
        return 1
    if group.kind == "cross":
        return -(-(group.window if rules.engine == "V0" else engine.max_num_batched_tokens) // block)
    if rules.windows == "full" or group.kind in {"full", "latent"}:
        return -(-length // (block * engine.decode_context_parallel)) + (rules.windows != "full" and group.window > 0)
    if group.kind == "sliding":
        return -(-min(group.window - 1 + in_flight, length) // block) + 1
    return -(-min(group.window + in_flight, length) // block)
