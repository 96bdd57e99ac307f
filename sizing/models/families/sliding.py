"""Decoders of sliding-window and full layers by turns: Gemma 2 and 3, Cohere2, EXAONE 4, OLMo 3, StarCoder2.

They differ in norms, biases, ties and which layers see everything; ``VARIANTS`` says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sizing.errors import BadInput
from sizing.models.blocks.fields import flag, whole
from sizing.models.blocks.layer_kinds import every, text_config
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


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How an architecture differs from a plain decoder. Norms in hidden sizes per layer."""

    norms: int = 2
    qk_norm: str = "none"
    """none, head (one head's elements), or all (all heads, on every rank)."""
    tied: bool = False
    full_every: int = 0
    """Every n-th layer sees everything where the file names no kinds; 0: none does."""
    extra_window: int = 0
    """Tokens kept in addition to the window."""
    gated: bool = True
    bias: bool = False
    """Biases of all linear layers and of the norms."""
    rotary: bool = True
    """False where vLLM serves the model through transformers, which keeps no rotary cache."""
    two_rotary_tables: bool = False
    """True where local and global layers rotate with different bases."""


VARIANTS: Mapping[str, Variant] = {
    "Gemma2ForCausalLM": Variant(norms=4, tied=True, full_every=2),
    "Gemma3ForCausalLM": Variant(norms=4, qk_norm="head", tied=True, full_every=6, two_rotary_tables=True),
    "Cohere2ForCausalLM": Variant(norms=1, tied=True, full_every=4, extra_window=1),
    "Exaone4ForCausalLM": Variant(qk_norm="head", full_every=4),
    "Olmo3ForCausalLM": Variant(qk_norm="all", full_every=4, rotary=False),
    "Starcoder2ForCausalLM": Variant(norms=2, tied=True, gated=False, bias=True, rotary=False),
}
ARCHITECTURES = tuple(VARIANTS)


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a decoder with sliding windows; reads ``text_config`` if nested."""
    text = text_config(config)
    variant = VARIANTS[architecture_of(text)]
    shape = shape_of(text, tied_by_default=variant.tied)
    width, layers = whole(text, "intermediate_size"), range(shape.layers)
    groups = caches(text, shape, kinds=_kinds(text, shape, variant), extra=variant.extra_window)
    mixed = len({group.kind for group in groups}) > 1
    return describe(
        text, shape, identity, family="sliding-window-hybrid", intermediate_size=width,
        weights=(
            *_attention(text, shape, variant),
            *mlp(layers, hidden=shape.hidden, width=width, gated=variant.gated, bias=variant.bias,
                 names=("gate_proj", "up_proj", "down_proj") if variant.gated else ("", "c_fc", "c_proj")),
            *embeddings(shape, norm=shape.hidden * (2 if variant.bias else 1)),
        ),
        kv_groups=groups,
        rotary_dim=shape.head_dim if variant.rotary else 0,
        rotary_tables=2 if variant.two_rotary_tables and mixed else 1,
    )  # fmt: skip


def _attention(config: Mapping[str, object], shape: Shape, variant: Variant) -> tuple[WeightGroup, ...]:
    layers = range(shape.layers)
    bias = flag(config, "use_bias" if variant.bias else "attention_bias", variant.bias)
    groups = [
        *attention(
            layers, hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            qkv_bias=bias, o_bias=bias,
        ),
        vector("layer_norms", variant.norms * shape.hidden * (2 if variant.bias else 1), layers),
    ]  # fmt: skip
    if variant.qk_norm != "none":
        heads = shape.heads + shape.kv_heads if variant.qk_norm == "all" else 2
        groups.append(vector("qk_norm", heads * shape.head_dim, layers))
    return tuple(groups)


def _kinds(config: Mapping[str, object], shape: Shape, variant: Variant) -> tuple[str, ...]:
    """Return the kinds of layers where ``layer_types`` is absent: all sliding, or a full one every n layers."""
    if not variant.full_every:
        return ("sliding",) * shape.layers
    pattern = config.get("sliding_window_pattern")
    if isinstance(pattern, str):
        return _pattern_kinds(pattern, shape.layers)
    period = whole(config, "sliding_window_pattern", whole(config, "_sliding_window_pattern", variant.full_every))
    return every(shape.layers, period, other="sliding")


def _pattern_kinds(pattern: str, layers: int) -> tuple[str, ...]:
    """Return the kinds of a pattern like ``LLLG`` (L local, G global) repeated; the last layer sees everything."""
    if not pattern or len(pattern) > layers or set(pattern) - {"L", "G"}:
        raise BadInput("config.json: sliding_window_pattern", f"{pattern[:40]!r}", limit="letters L and G, or a number")
    kinds = tuple("full" if pattern[index % len(pattern)] == "G" else "sliding" for index in range(layers))
    return (*kinds[:-1], "full")
