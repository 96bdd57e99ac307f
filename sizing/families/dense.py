"""Dense decoders with full attention (MHA, GQA, MQA): Llama, Mistral, Qwen2, Qwen3, Gemma, Phi-3.

Every layer: q, k, v, o; gate, up, down; two norms (Qwen3 adds norms of q and k). vLLM splits q, k, v, gate and
up by output, o and down by input, embeddings and head by padded vocabulary; norms are on every rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.families.fields import dtype_of, flag, max_positions, refuse_sliding_window, whole
from sizing.model import KvGroup, ModelSpec, Split, WeightGroup
from sizing.quantisation import quantisation_of

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


def build(config: Mapping[str, object], *, name: str, checkpoint_bytes: int | None, revision: str) -> ModelSpec:
    """Return the description of a dense decoder."""
    layers = whole(config, "num_hidden_layers")
    width, hidden = whole(config, "intermediate_size"), whole(config, "hidden_size")
    groups = (*attention_groups(config), *mlp_groups(hidden, width, 0, layers, bias=flag(config, "mlp_bias", False)))
    return assemble(
        config, groups, name=name, checkpoint_bytes=checkpoint_bytes, revision=revision, intermediate_size=width
    )


def head_dimension(config: Mapping[str, object]) -> int:
    """Return ``head_dim``, or hidden size over heads where the file leaves it out."""
    hidden, heads = whole(config, "hidden_size"), whole(config, "num_attention_heads")
    if config.get("head_dim") is None and hidden % heads:
        raise BadInput("config.json: num_attention_heads", f"{heads} does not divide hidden_size {hidden}")
    return whole(config, "head_dim", max(hidden // heads, 1))


def attention_groups(config: Mapping[str, object]) -> tuple[WeightGroup, ...]:
    """Return q, k, v, o with their biases and norms for all layers."""
    hidden, layers = whole(config, "hidden_size"), whole(config, "num_hidden_layers")
    heads = whole(config, "num_attention_heads")
    kv_heads = whole(config, "num_key_value_heads", heads)
    if heads % kv_heads:
        raise BadInput("config.json: num_key_value_heads", f"{kv_heads} does not divide num_attention_heads {heads}")
    head, architecture = head_dimension(config), str(_architecture(config))
    path = "model.layers.{i}.self_attn."
    shapes: tuple[tuple[str, int, int, Split], ...] = (
        ("q_proj", heads * head, hidden, "out"),
        ("k_proj", kv_heads * head, hidden, "kv"),
        ("v_proj", kv_heads * head, hidden, "kv"),
        ("o_proj", hidden, heads * head, "in"),
    )
    groups = [
        WeightGroup(name=part, rows=rows, columns=columns, split=split, layers=layers, path=path + part)
        for part, rows, columns, split in shapes
    ]
    if flag(config, "attention_bias", architecture in QKV_BIAS):
        wide, narrow = heads * head, 2 * kv_heads * head
        groups.append(WeightGroup(name="q_bias", rows=wide, columns=1, split="out", layers=layers, linear=False))
        groups.append(WeightGroup(name="kv_bias", rows=narrow, columns=1, split="kv", layers=layers, linear=False))
        if architecture not in QKV_BIAS:
            groups.append(_vector("o_bias", hidden, layers))
    if architecture in QK_NORM:
        groups.append(_vector("qk_norm", 2 * head, layers))
    groups.append(_vector("layer_norms", 2 * hidden, layers))
    return tuple(groups)


def mlp_groups(
    hidden: int, width: int, first: int, layers: int, *, bias: bool = False, copies: int = 1, path: str = "mlp"
) -> tuple[WeightGroup, ...]:
    """Return gate, up and down of a gated MLP of ``width`` in ``layers`` from ``first`` on."""
    base = "model.layers.{i}." + path
    groups = [
        WeightGroup(
            name=part, rows=width, columns=hidden, split="out", first_layer=first, layers=layers, copies=copies,
            path=f"{base}.{part}",
        )
        for part in ("gate_proj", "up_proj")
    ]  # fmt: skip
    groups.append(
        WeightGroup(
            name="down_proj", rows=hidden, columns=width, split="in", first_layer=first, layers=layers, copies=copies,
            path=f"{base}.down_proj",
        )
    )  # fmt: skip
    if bias:
        groups.append(
            WeightGroup(
                name="mlp_bias", rows=2 * width, columns=1, split="out", first_layer=first, layers=layers, linear=False
            )
        )
        groups.append(_vector("down_bias", hidden, layers))
    return tuple(groups)


def assemble(
    config: Mapping[str, object],
    groups: tuple[WeightGroup, ...],
    *,
    name: str,
    checkpoint_bytes: int | None,
    revision: str,
    intermediate_size: int,
    family: str = "dense-gqa",
    experts: int = 0,
    experts_per_token: int = 0,
) -> ModelSpec:
    """Add embedding, final norm and head to the groups of the layers, and the cache of full attention."""
    refuse_sliding_window(config)
    hidden, layers = whole(config, "hidden_size"), whole(config, "num_hidden_layers")
    heads, vocabulary = whole(config, "num_attention_heads"), whole(config, "vocab_size")
    kv_heads, head = whole(config, "num_key_value_heads", heads), head_dimension(config)
    tied = flag(config, "tie_word_embeddings", _architecture(config) in TIED_BY_DEFAULT)
    embedding = WeightGroup(
        name="embed_tokens", rows=vocabulary, columns=hidden, split="vocabulary", place="first", linear=False
    )
    head_group = replace(embedding, name="lm_head", place="last", tied=tied)
    norm = WeightGroup(name="norm", rows=hidden, columns=1, split="replicated", place="last", linear=False)
    return ModelSpec(
        name=name,
        revision=revision,
        architecture=_architecture(config),
        family=family if kv_heads < heads or family != "dense-gqa" else "dense-mha",
        dtype=dtype_of(config),
        hidden_size=hidden,
        num_layers=layers,
        num_attention_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head,
        intermediate_size=intermediate_size,
        vocab_size=vocabulary,
        max_position_embeddings=max_positions(config),
        tie_word_embeddings=tied,
        quantisation=quantisation_of(config),
        kv_cache_dtype=_kv_cache_dtype(config),
        rotary_dim=head,
        weights=(*groups, embedding, norm, head_group),
        kv_groups=(KvGroup(kind="full", first_layer=0, layers=layers, kv_heads=kv_heads, head_dim=head),),
        experts=experts,
        experts_per_token=experts_per_token,
        checkpoint_bytes=checkpoint_bytes,
    )


def _architecture(config: Mapping[str, object]) -> str:
    stated = config.get("architectures")
    return str(stated[0]) if isinstance(stated, list) and stated else ""


def _kv_cache_dtype(config: Mapping[str, object]) -> str:
    """A checkpoint may carry fp8 cache scales, and vLLM then uses fp8 without being asked."""
    quantisation = config.get("quantization_config")
    if not isinstance(quantisation, Mapping):
        return "auto"
    if str(quantisation.get("kv_cache_quant_algo", "")).upper() == "FP8" or quantisation.get("kv_cache_scheme"):
        return "fp8"
    return "auto"


def _vector(name: str, length: int, layers: int) -> WeightGroup:
    return WeightGroup(name=name, rows=length, columns=1, split="replicated", layers=layers, linear=False)
