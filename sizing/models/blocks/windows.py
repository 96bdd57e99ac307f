"""Which layers of a decoder see a window of tokens, as vLLM reads it, and the caches that follow.

Without kinds of layers every layer has the window (Mistral 7B v0.1, Phi-3, StarCoder 2); with ``layer_types`` those
named sliding have it. Qwen's window counts only with ``use_sliding_window``, and then for all layers or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag
from sizing.models.blocks.layer_kinds import layer_kinds, of_kind
from sizing.models.blocks.parts import Shape, full_cache
from sizing.models.kv_groups import KvGroup, KvKind

OFF_UNLESS_SAID = frozenset({"qwen2", "qwen3", "qwen2_moe", "qwen3_moe"})
"""Model types whose window counts only with ``use_sliding_window``."""


def window_cache(shape: Shape, layers: Sequence[int], window: int) -> KvGroup:
    """Return the cache of layers that keep the last ``window`` tokens with all KV heads.

    Nothing ever leaves a window as long as the context, but vLLM manages it as a window still.
    """
    kind: KvKind = "sliding" if window < shape.positions else "full"
    return KvGroup(kind=kind, layers=layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, window=window)


def caches(
    config: Mapping[str, object], shape: Shape, *, kinds: tuple[str, ...] | None = None, extra: int = 0
) -> tuple[KvGroup, ...]:
    """Return the caches of all layers of a decoder: full, sliding, or both interleaved.

    ``kinds`` are those of the layers where the file names none (default: all layers have the window);
    ``extra`` tokens are kept in addition to the window.
    """
    window = count(config, "sliding_window")
    optional = str(config.get("model_type")) in OFF_UNLESS_SAID
    if not flag(config, "use_sliding_window", not optional):
        window = 0
    default = _qwen_kinds(config, shape.layers) if optional else kinds or ("sliding",) * shape.layers
    stated = layer_kinds(config, shape.layers, default=default) if window else ("full",) * shape.layers
    sliding, full = of_kind(stated, "sliding"), of_kind(stated, "full")
    if len(sliding) + len(full) != shape.layers:
        raise BadInput("config.json: layer_types", "layers other than full_attention and sliding_attention")
    if optional and sliding and full:
        problem = "a window on some of the layers, which vLLM does not serve for this architecture"
        raise BadInput("config.json: max_window_layers", problem, way_out="set use_sliding_window to false")
    return interleaved(full_cache(shape, full), window_cache(shape, sliding, window + extra))


def interleaved(*groups: KvGroup) -> tuple[KvGroup, ...]:
    """Return the groups that have layers in the order in which those first occur, as vLLM meets them."""
    return tuple(sorted((group for group in groups if len(group.layers)), key=lambda group: group.layers[0]))


def _qwen_kinds(config: Mapping[str, object], layers: int) -> tuple[str, ...]:
    """Return the kinds of Qwen's layers: those above ``max_window_layers`` have the window."""
    first = count(config, "max_window_layers", layers)
    return tuple("sliding" if index >= first else "full" for index in range(layers))
