"""Whisper: an encoder of sound, and a decoder whose layers attend to themselves and to the encoder.

The decoder's own cache grows with every token; that of cross attention holds the encoder's positions once for each
request. Embedding and head are one table that every rank holds whole. Source: ``models/whisper.py`` of vLLM 0.32.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.encoder_parts import EncoderBlocks, encoder_blocks, plain
from sizing.models.blocks.fields import whole
from sizing.models.blocks.parts import Identity, Shape, architecture_of, attention, describe, full_cache, mlp, vector
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import EncoderRun, ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("WhisperForConditionalGeneration",)
CONVOLUTION = 3
"""Width of both convolutions in front of the encoder (kernel_size of ``WhisperEncoder``)."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return encoder and decoder; the context is that of the decoder."""
    shape, sound = _decoder_shape(config), whole(config, "max_source_positions", 1500)
    encoder = _encoder(config, shape.hidden)
    return describe(
        config,
        shape,
        identity,
        family="encoder-decoder",
        intermediate_size=whole(config, "decoder_ffn_dim"),
        weights=(*_front(config, encoder, sound), *encoder_blocks(encoder), *_decoder(config, shape)),
        kv_groups=(full_cache(shape), _cross_cache(shape, sound)),
        rotary_dim=0,
        encoder_run=EncoderRun(
            tokens=sound, positions=sound, hidden=shape.hidden, width=2 * encoder.width, out=shape.hidden
        ),
    )


def _decoder_shape(config: Mapping[str, object]) -> Shape:
    hidden, heads = whole(config, "d_model"), whole(config, "decoder_attention_heads")
    if hidden % heads:
        raise BadInput("config.json: decoder_attention_heads", f"{heads} does not divide d_model {hidden}")
    return Shape(
        architecture=architecture_of(config), hidden=hidden, layers=whole(config, "decoder_layers"), heads=heads,
        kv_heads=heads, head_dim=hidden // heads, vocabulary=whole(config, "vocab_size"),
        positions=whole(config, "max_target_positions", 448), tied=True,
    )  # fmt: skip


def _encoder(config: Mapping[str, object], hidden: int) -> EncoderBlocks:
    return EncoderBlocks(
        layers=whole(config, "encoder_layers"), hidden=hidden, width=whole(config, "encoder_ffn_dim"),
        heads=whole(config, "encoder_attention_heads"), path="model.encoder.layers.{i}.",
    )  # fmt: skip


def _front(config: Mapping[str, object], encoder: EncoderBlocks, sound: int) -> tuple[WeightGroup, ...]:
    """Return two convolutions, the positions and the last norm of the encoder."""
    hidden = encoder.hidden
    return (
        plain("conv1", hidden, CONVOLUTION * whole(config, "num_mel_bins") + 1),
        plain("conv2", hidden, CONVOLUTION * hidden + 1),
        plain("encoder_positions", sound, hidden),
        plain("encoder_norm", 2 * hidden),
    )


def _decoder(config: Mapping[str, object], shape: Shape) -> tuple[WeightGroup, ...]:
    layers, hidden = range(shape.layers), shape.hidden
    block = "model.decoder.layers.{i}."
    width = whole(config, "decoder_ffn_dim")
    return (
        *_attention(shape, block + "self_attn."),
        *_attention(shape, block + "encoder_attn."),
        *mlp(layers, hidden=hidden, width=width, gated=False, bias=True, path=block, names=("", "fc1", "fc2")),
        vector("layer_norms", 6 * hidden, layers),
        plain("embed_tokens", shape.vocabulary, hidden),
        plain("decoder_positions", shape.positions, hidden),
        replace(plain("norm", 2 * hidden), place="last"),
        replace(plain("lm_head", shape.vocabulary, hidden), place="last", tied=True),
    )


def _attention(shape: Shape, path: str) -> tuple[WeightGroup, ...]:
    return attention(
        range(shape.layers), hidden=shape.hidden, heads=shape.heads, kv_heads=shape.heads, head_dim=shape.head_dim,
        qkv_bias=True, o_bias=True, path=path,
    )  # fmt: skip


def _cross_cache(shape: Shape, sound: int) -> KvGroup:
    return KvGroup(
        kind="cross", layers=range(shape.layers), kv_heads=shape.kv_heads, head_dim=shape.head_dim, window=sound
    )
