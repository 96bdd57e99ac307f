"""Which layer does what: lists of kinds, indices, the window of a layer, and the text part of a multimodal file."""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput
from sizing.models.blocks.fields import whole

OUTER_FIELDS = ("architectures", "quantization_config", "torch_dtype", "dtype", "tie_word_embeddings")
"""Fields of a multimodal file that also describe its text part."""
LAYER_NAMES: Mapping[str, str] = {
    "full_attention": "full",
    "attention": "full",
    "global": "full",
    "sliding_attention": "sliding",
    "sliding": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "state",
    "mamba": "state",
    "mamba2": "state",
    "conv": "state",
    "kda": "state",
    "deepseek_sparse_attention": "full",
    "hybrid": "hybrid",
}
"""Name of a kind in ``layer_types`` -> kind of cache."""


def text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the fields of the text part: ``text_config`` with what stands outside it, or the file itself."""
    nested = config.get("text_config")
    if nested is None:
        return config
    if not isinstance(nested, Mapping):
        raise BadInput("config.json: text_config", f"expected an object, got {type(nested).__name__}")
    outer = {key: config[key] for key in OUTER_FIELDS if config.get(key) is not None}
    return {**outer, **{key: value for key, value in nested.items() if key not in outer or key != "architectures"}}


def layer_kinds(
    config: Mapping[str, object], layers: int, *, default: tuple[str, ...] | None = None, key: str = "layer_types"
) -> tuple[str, ...]:
    """Return the kind of every layer (``LAYER_NAMES``) from ``key``, or ``default`` where the file has none."""
    stated = config.get(key)
    if stated is None:
        if default is None:
            raise BadInput(f"config.json: {key}", "missing", way_out="take the complete config.json of the model")
        return default
    if not isinstance(stated, list) or not all(isinstance(kind, str) for kind in stated):
        raise BadInput(f"config.json: {key}", "expected a list of names")
    if len(stated) != layers:
        raise BadInput(f"config.json: {key}", f"{len(stated)} entries", limit=f"num_hidden_layers {layers}")
    unknown = sorted({kind for kind in stated if kind not in LAYER_NAMES})
    if unknown:
        raise BadInput(f"config.json: {key}", f"{unknown[0][:40]!r}", limit=", ".join(sorted(LAYER_NAMES)))
    return tuple(LAYER_NAMES[kind] for kind in stated)


def indices(config: Mapping[str, object], key: str, below: int, *, first: int = 0) -> tuple[int, ...]:
    """Return the sorted layer indices of ``key``, counted from ``first`` in the file and from 0 here."""
    stated = config.get(key)
    if not isinstance(stated, list) or not all(type(i) is int and first <= i < below + first for i in stated):
        raise BadInput(
            f"config.json: {key}", "missing or not indices of layers", limit=f"{first} to {below + first - 1}"
        )
    return tuple(sorted({i - first for i in stated}))


def every(layers: int, period: int, *, kind: str = "full", other: str = "state") -> tuple[str, ...]:
    """Return kinds where the last of each ``period`` layers is ``kind``, the rest ``other``."""
    return tuple(kind if (index + 1) % period == 0 else other for index in range(layers))


def of_kind(kinds: tuple[str, ...], *wanted: str) -> tuple[int, ...]:
    """Return the indices of the layers whose kind is one of ``wanted``."""
    return tuple(index for index, kind in enumerate(kinds) if kind in wanted)


def window_of(config: Mapping[str, object], key: str = "sliding_window") -> int:
    """Return the tokens of the sliding window; BadInput where layers need it and the file has none."""
    return whole(config, key)


def rotary_dimension(config: Mapping[str, object], head_dim: int, default: float = 1.0) -> int:
    """Return the elements of a head that rotate: ``partial_rotary_factor`` of it, there or in ``rope_parameters``."""
    scaling = config.get("rope_parameters")
    inner = scaling.get("partial_rotary_factor") if isinstance(scaling, Mapping) else None
    factor = config.get("partial_rotary_factor", inner) if inner is None else inner
    if factor is None:
        factor = default
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1:
        raise BadInput("config.json: partial_rotary_factor", f"{str(factor)[:40]}", limit="above 0, at most 1")
    return int(head_dim * factor)
