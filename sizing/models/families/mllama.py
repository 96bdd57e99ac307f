"""Llama 3.2 Vision: a text decoder in which every fifth layer attends to the image instead of the text.

Cross layers cache the positions of one image (tiles x patches) for each request. vLLM served it until 0.10.2;
source: ``mllama.py`` of that version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.encoder_parts import EncoderBlocks, encoder_blocks, linear, part, patches, plain
from sizing.models.blocks.fields import dtype_of, whole
from sizing.models.blocks.parts import (
    Identity,
    Shape,
    attention,
    describe,
    embeddings,
    full_cache,
    mlp,
    shape_of,
    vector,
)
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import EncoderRun, ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("MllamaForConditionalGeneration",)
MOST_RATIOS = 256
EXTRA_TOKENS = 8
"""Rows of the embedding beyond the vocabulary, for the image (``MllamaTextModel``)."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the decoder with its cross layers, and the vision encoder of local and global blocks."""
    text, vision = part(config, "text_config"), part(config, "vision_config")
    shape = replace(shape_of(text), architecture=ARCHITECTURES[0])
    cross = _cross_layers(text, shape.layers)
    own = tuple(index for index in range(shape.layers) if index not in cross)
    seen = whole(vision, "max_num_tiles") * (patches(vision) + 1)
    width = whole(text, "intermediate_size")
    dtype = dtype_of(config if config.get("torch_dtype", config.get("dtype")) is not None else text)
    return describe(
        config, shape, identity, family="multimodal", intermediate_size=width, dtype=dtype,
        weights=(*_decoder(shape, width, cross), *_vision_encoder(vision, shape.hidden)),
        kv_groups=(full_cache(shape, own), _cross_cache(shape, cross, seen)),
        encoder_run=_run(vision, shape, seen),
    )  # fmt: skip


def _cross_layers(text: Mapping[str, object], layers: int) -> tuple[int, ...]:
    stated = text.get("cross_attention_layers")
    found = [one for one in stated if isinstance(one, int) and 0 <= one < layers] if isinstance(stated, list) else []
    if not found or not isinstance(stated, list) or len(set(found)) < len(stated):
        raise BadInput(
            "config.json: cross_attention_layers", f"{str(stated)[:40]!r}", limit=f"layers 0 to {layers - 1}"
        )
    return tuple(sorted(found))


def _decoder(shape: Shape, width: int, cross: tuple[int, ...]) -> tuple[WeightGroup, ...]:
    layers, hidden = range(shape.layers), shape.hidden
    ends = (
        replace(group, rows=group.rows + EXTRA_TOKENS) if group.name == "embed_tokens" else group
        for group in embeddings(shape)
    )
    return (
        *attention(layers, hidden=hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim),
        *mlp(layers, hidden=hidden, width=width),
        vector("layer_norms", 2 * hidden, layers),
        vector("cross_norms_and_gates", 2 * shape.head_dim + 2, cross),
        *ends,
    )


def _vision_encoder(vision: Mapping[str, object], text_hidden: int) -> tuple[WeightGroup, ...]:
    hidden, tiles = whole(vision, "hidden_size"), whole(vision, "max_num_tiles")
    positions, ratios = patches(vision) + 1, _aspect_ratios(vision) + 1
    local, extended = whole(vision, "num_hidden_layers"), whole(vision, "num_global_layers")
    blocks = EncoderBlocks(
        layers=local + extended, hidden=hidden, width=whole(vision, "intermediate_size"),
        heads=whole(vision, "attention_heads"), qkv_bias=False, o_bias=False,
        path="vision_model.transformer.layers.{i}.",
        names=("self_attn.qkv_proj", "self_attn.o_proj", "mlp.fc1", "mlp.fc2"),
    )  # fmt: skip
    columns = whole(vision, "num_channels") * whole(vision, "patch_size") ** 2
    return (
        *linear("vision_model.patch_embedding._linear", hidden, columns, "out"),
        *encoder_blocks(blocks),
        plain("class_and_norms", hidden, 5),
        plain("positions", positions, hidden),
        plain("tile_positions", ratios, tiles * positions * hidden),
        plain("tiles_before_and_after", ratios, 2 * tiles * hidden),
        plain("gates", 3 + 2 * extended),
        *linear("multi_modal_projector", text_hidden, whole(vision, "vision_output_dim"), "out", bias=True),
    )


def _aspect_ratios(vision: Mapping[str, object]) -> int:
    stated = vision.get("supported_aspect_ratios")
    if not isinstance(stated, list) or not 0 < len(stated) <= MOST_RATIOS:
        raise BadInput("config.json: supported_aspect_ratios", f"{str(stated)[:40]!r}", limit=f"1 to {MOST_RATIOS}")
    return len(stated)


def _cross_cache(shape: Shape, layers: tuple[int, ...], seen: int) -> KvGroup:
    return KvGroup(kind="cross", layers=layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, window=seen)


def _run(vision: Mapping[str, object], shape: Shape, seen: int) -> EncoderRun:
    return EncoderRun(
        tokens=seen, positions=seen, hidden=whole(vision, "hidden_size"), width=2 * whole(vision, "intermediate_size"),
        out=shape.hidden,
    )  # fmt: skip
