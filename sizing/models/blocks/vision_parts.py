"""What several vision encoders are made of: SigLIP, CLIP and Pixtral blocks, patches, and their profile run.

The largest image is what the processor of the model takes by default (``largest_images.json``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import resources

from sizing.errors import BadInput
from sizing.models.blocks.encoder_parts import (
    EncoderBlocks,
    encoder_blocks,
    layers_up_to,
    part,
    patches,
    plain,
    with_class_defaults,
)
from sizing.models.blocks.fields import whole
from sizing.models.spec import EncoderRun
from sizing.models.weight_groups import WeightGroup

Config = Mapping[str, object]


PIXELS = 3
"""Pixels arrive in float32, two elements of 16 bits, and are copied to the model's type."""


def whole_attention(groups: tuple[WeightGroup, ...], heads: int) -> tuple[WeightGroup, ...]:
    """Leave attention whole where an odd number of heads cannot be split (``InternParallelAttention``)."""
    if heads % 2 == 0:
        return groups
    split = {"qkv", "qkv_bias", "proj", "proj_bias"}
    return tuple(replace(group, split="replicated") if group.name in split else group for group in groups)


def llava_blocks(config: Config, *, post_norm: bool = True) -> tuple[EncoderBlocks, tuple[WeightGroup, ...], int]:
    """Return blocks, weights and patches of one image for the encoder that ``vision_config.model_type`` names."""
    vision = with_class_defaults(part(config, "vision_config"))
    kind, layers = vision.get("model_type"), whole(vision, "num_hidden_layers")
    used = layers_up_to(config, layers)
    if kind == "siglip_vision_model":
        return *siglip(vision, used, "vision_tower.vision_model.", post_norm=post_norm and used == layers), patches(
            vision
        )
    if kind == "clip_vision_model":
        return *clip(vision, used, post_norm=post_norm and used == layers), patches(vision)
    if kind == "pixtral":
        return *_pixtral(vision, used), patches(vision)
    raise BadInput(
        "config.json: vision_config.model_type", f"{str(kind)[:40]!r} is not modelled",
        limit="clip_vision_model, siglip_vision_model, pixtral",
    )  # fmt: skip


def siglip(
    vision: Config, layers: int, path: str, *, post_norm: bool = True
) -> tuple[EncoderBlocks, tuple[WeightGroup, ...]]:
    """Return the blocks of SigLIP and their weights: a bias to the patches, learned positions, a norm at the end."""
    blocks = _image_blocks(vision, layers, path + "encoder.layers.{i}.")
    embedding = 3 * whole(vision, "patch_size") ** 2 + 1 + patches(vision)
    head = (plain("post_layernorm", 2 * blocks.hidden),) if post_norm else ()
    return blocks, (plain("patch_embed", blocks.hidden, embedding), *encoder_blocks(blocks), *head)


def clip(vision: Config, layers: int, *, post_norm: bool) -> tuple[EncoderBlocks, tuple[WeightGroup, ...]]:
    """Return the blocks of CLIP and their weights: a class token, learned positions, norms before and after."""
    blocks = _image_blocks(vision, layers, "vision_tower.vision_model.encoder.layers.{i}.")
    embedding = 3 * whole(vision, "patch_size") ** 2 + patches(vision) + 2
    norms = plain("norms", blocks.hidden * (4 if post_norm else 2))
    return blocks, (plain("patch_embed", blocks.hidden, embedding), *encoder_blocks(blocks), norms)


def _pixtral(vision: Config, layers: int) -> tuple[EncoderBlocks, tuple[WeightGroup, ...]]:
    hidden = whole(vision, "hidden_size")
    blocks = EncoderBlocks(
        layers=layers, hidden=hidden, width=whole(vision, "intermediate_size"), gated=True, qkv_bias=False,
        heads=whole(vision, "num_attention_heads"), o_bias=False, mlp_bias=False, vectors=2 * hidden,
        path="vision_tower.transformer.layers.{i}.",
        names=("attention.qkv_proj", "attention.o_proj", "feed_forward.gate_up_proj", "feed_forward.down_proj"),
    )  # fmt: skip
    embedding = whole(vision, "num_channels") * whole(vision, "patch_size") ** 2 + 1
    return blocks, (plain("patch_embed", hidden, embedding), *encoder_blocks(blocks))


def _image_blocks(vision: Config, layers: int, path: str) -> EncoderBlocks:
    return EncoderBlocks(
        layers=layers, hidden=whole(vision, "hidden_size"), width=whole(vision, "intermediate_size"),
        heads=whole(vision, "num_attention_heads"), path=path,
    )  # fmt: skip


def unquantised(groups: tuple[WeightGroup, ...]) -> tuple[WeightGroup, ...]:
    """Return the groups as checkpoints keep them that quantise the text model only."""
    return tuple(replace(group, linear=False) for group in groups)


def inner_width(blocks: EncoderBlocks) -> int:
    """Elements alive in the MLP of one position: what goes in, its gate, and the product."""
    return blocks.width * (3 if blocks.gated else 2)


def patch_columns(vision: Config) -> int:
    """Return the elements of one patch: channels x pixels x frames."""
    channels = whole(vision, "in_channels", whole(vision, "in_chans", 3))
    return channels * whole(vision, "patch_size") ** 2 * whole(vision, "temporal_patch_size")


def layers_named(vision: Config, key: str) -> int:
    """Return how many layers the list ``key`` names; absent or null: none."""
    value = vision.get(key)
    if value is None:
        return 0
    if not isinstance(value, list) or len(value) > whole(vision, "depth"):
        raise BadInput(f"config.json: {key}", f"{str(value)[:40]!r}", limit="a list of layers of the tower")
    return len(value)


def encoder_run(image: str, blocks: EncoderBlocks, *, merge: int, out: int, extra: int = 0) -> EncoderRun:
    """Return the profile run on the largest image of the processor ``image``; ``merge`` positions become one token."""
    tokens = largest_image(image, "tokens")
    return EncoderRun(
        tokens=tokens, positions=tokens * merge, hidden=blocks.hidden, width=inner_width(blocks), out=out,
        extra=extra, most=largest_image(image, "images"),
    )  # fmt: skip


def largest_image(image: str, key: str) -> int:
    """Return ``tokens`` or ``images`` of the largest input that the processor ``image`` takes."""
    value = _images()[image].get(key, 1)
    return int(value)


@lru_cache(maxsize=1)
def _images() -> Mapping[str, Mapping[str, int]]:
    text = (resources.files("sizing.models.blocks") / "largest_images.json").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, int]] = json.loads(text)["by_processor"]
    return table
