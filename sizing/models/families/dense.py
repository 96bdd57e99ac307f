"""Dense decoders (MHA, GQA, MQA), with a sliding window where stated: Llama, Mistral, Qwen2, Qwen3, Gemma, Phi-3."""

from __future__ import annotations

from collections.abc import Mapping

from sizing.models.blocks.fields import flag, whole
from sizing.models.blocks.parts import (
    Identity,
    Shape,
    architecture_of,
    attention,
    describe,
    embeddings,
    mlp,
    shape_of,
    vector,
)
from sizing.models.blocks.windows import caches
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "GemmaForCausalLM",
    "Phi3ForCausalLM",
)
TIED_BY_DEFAULT = ("GemmaForCausalLM",)
QKV_BIAS = ("Qwen2ForCausalLM", "Qwen2MoeForCausalLM")
QK_NORM = ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a dense decoder."""
    shape = shape_of(config, tied_by_default=architecture_of(config) in TIED_BY_DEFAULT)
    width, layers = whole(config, "intermediate_size"), range(shape.layers)
    return describe(
        config,
        shape,
        identity,
        family="dense-gqa" if shape.kv_heads < shape.heads else "dense-mha",
        intermediate_size=width,
        weights=(
            *decoder_attention(config, shape),
            *mlp(layers, hidden=shape.hidden, width=width, bias=flag(config, "mlp_bias", False)),
            *embeddings(shape),
        ),
        kv_groups=caches(config, shape),
    )


def decoder_attention(config: Mapping[str, object], shape: Shape) -> tuple[WeightGroup, ...]:
    """Return attention of all layers with the two norms, biases and norms of q and k as the architecture has them."""
    layers = range(shape.layers)
    bias = flag(config, "attention_bias", shape.architecture in QKV_BIAS)
    groups = [
        *attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            qkv_bias=bias, o_bias=bias and shape.architecture not in QKV_BIAS,
        ),
        vector("layer_norms", 2 * shape.hidden, layers),
    ]  # fmt: skip
    if shape.architecture in QK_NORM:
        groups.append(vector("qk_norm", 2 * shape.head_dim, layers))
    return tuple(groups)
