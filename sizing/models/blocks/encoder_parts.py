"""Encoders of images and sound in a multimodal model: their weights and what their profile run keeps alive.

Every pipeline stage holds the encoder, and the first runs it. Tensor parallelism splits its blocks like those of a
decoder (q, k, v and the first MLP matrix by output, the others by input), while patch embeddings, positions, norms and
most projectors are whole on every rank. Source: the encoder classes of vLLM 0.32.0 in ``vllm/model_executor/models``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any

from sizing.errors import BadInput
from sizing.models.blocks.fields import whole
from sizing.models.blocks.parts import vector
from sizing.models.spec import EncoderRun
from sizing.models.weight_groups import Split, WeightGroup


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Weights of an encoder with its projector, and its profile run."""

    weights: tuple[WeightGroup, ...]
    run: EncoderRun


@dataclass(frozen=True, kw_only=True)
class EncoderBlocks:
    """Blocks of a transformer encoder; sizes in elements."""

    layers: int
    hidden: int
    width: int
    heads: int
    head_dim: int | None = None
    gated: bool = False
    qkv_bias: bool = True
    o_bias: bool = True
    mlp_bias: bool = True
    vectors: int | None = None
    """Elements of norms and other vectors of one layer; None: two norms with bias."""
    path: str
    """Module path of a block with ``{i}``, as vLLM names it."""
    names: tuple[str, str, str, str] = ("self_attn.qkv_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
    """Modules of q, k and v together, of the output, and of the two MLP matrices."""


def encoder_blocks(encoder: EncoderBlocks) -> tuple[WeightGroup, ...]:
    """Return the weights of all blocks. BadInput where the heads do not divide the width."""
    hidden, layers = encoder.hidden, range(encoder.layers)
    if encoder.head_dim is None and hidden % encoder.heads:
        raise BadInput("config.json: num_heads", f"{encoder.heads} does not divide hidden_size {hidden} of the encoder")
    inner = encoder.heads * (encoder.head_dim or hidden // encoder.heads)
    qkv, out, first, second = (encoder.path + name for name in encoder.names)
    wide = encoder.width * (2 if encoder.gated else 1)
    groups = [
        *_by_heads(linear(qkv, 3 * inner, hidden, "kv", bias=encoder.qkv_bias), encoder.heads),
        *linear(out, hidden, inner, "in", bias=encoder.o_bias),
        *linear(first, wide, hidden, "out", bias=encoder.mlp_bias),
        *linear(second, hidden, encoder.width, "in", bias=encoder.mlp_bias),
        vector("encoder_norms", 4 * hidden if encoder.vectors is None else encoder.vectors, (0,)),
    ]
    return tuple(replace(group, layers=layers, place="every") for group in groups if group.rows)


def _by_heads(groups: tuple[WeightGroup, ...], heads: int) -> tuple[WeightGroup, ...]:
    """Split by whole heads: no rank holds a part of one."""
    return tuple(replace(group, kv_heads=heads) for group in groups)


def linear(path: str, rows: int, columns: int, split: Split, *, bias: bool = False) -> tuple[WeightGroup, ...]:
    """Return one linear layer of an encoder that a checkpoint may quantise under ``path``; a bias follows the rows."""
    name = path.rsplit(".", 1)[-1]
    weight = WeightGroup(name=name, rows=rows, columns=columns, split=split, place="every", path=path)
    if not bias:
        return (weight,)
    side: Split = split if split in {"out", "kv"} else "replicated"
    return weight, replace(weight, name=f"{name}_bias", columns=1, split=side, linear=False)


def plain(name: str, rows: int, columns: int = 1, *, copies: int = 1) -> WeightGroup:
    """Return a matrix or vector that every rank holds in the model's type."""
    return WeightGroup(
        name=name, rows=rows, columns=columns, split="replicated", place="every", copies=copies, linear=False
    )


def with_class_defaults(config: Mapping[str, object], model_type: str | None = None) -> Mapping[str, object]:
    """Fill in what a file leaves out, from the defaults of its configuration class."""
    kind = model_type or str(config.get("model_type"))
    stated = {key: value for key, value in config.items() if value is not None}
    return {**_defaults().get(kind, {}), **stated}


@lru_cache(maxsize=1)
def _defaults() -> Mapping[str, Mapping[str, Any]]:
    text = (resources.files("sizing.models.blocks") / "config_defaults.json").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, Any]] = json.loads(text)["by_model_type"]
    return table


def part(config: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return the nested object ``key``; BadInput where it is missing or no object."""
    value = config.get(key)
    if not isinstance(value, Mapping):
        problem = "missing" if value is None else f"expected an object, got {type(value).__name__}"
        raise BadInput(f"config.json: {key}", problem, way_out="take the complete config.json of the model")
    return value


def patches(vision: Mapping[str, object]) -> int:
    """Return the patches of one image of the encoder's own size."""
    side = whole(vision, "image_size") // whole(vision, "patch_size")
    if not side:
        raise BadInput("config.json: image_size", "smaller than patch_size")
    return side * side


def layers_up_to(config: Mapping[str, object], layers: int, key: str = "vision_feature_layer") -> int:
    """Return how many blocks are built: up to the deepest whose output is used (-1: all, -2: all but one)."""
    stated = config.get(key, -2 if key == "vision_feature_layer" else -1)
    listed: list[object] = stated if isinstance(stated, list) else [stated]
    chosen = [one for one in listed if isinstance(one, int) and not isinstance(one, bool)]
    if not chosen or len(chosen) < len(listed):
        raise BadInput(f"config.json: {key}", f"{str(stated)[:40]!r}", limit="whole numbers")
    deepest = max(one + layers + 1 if one < 0 else one for one in chosen)
    if not 0 < deepest <= layers:
        raise BadInput(f"config.json: {key}", f"{str(stated)[:40]!r}", limit=f"the {layers} layers of the tower")
    return deepest
