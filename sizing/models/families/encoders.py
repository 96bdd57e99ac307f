"""Encoders that look both ways: BERT, RoBERTa, ModernBERT, Nomic, GTE, as embedding models and as rerankers.

They keep no KV cache and draw no tokens. Heads for classification are in float32, as vLLM keeps them (``head_dtype``
of pooling models). Source: bert.py, roberta.py, modernbert.py and bert_with_rope.py of vLLM 0.32.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import flag, whole
from sizing.models.blocks.parts import Identity, Shape, architecture_of, attention, describe, mlp, shape_of, vector
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

Config = Mapping[str, object]
FLOAT32 = 4
ALIASES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "n_inner",
    "max_position_embeddings": "n_positions",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one encoder differs from BERT."""

    gated: bool = False
    learned: bool = True
    """Learned positions; False: rotary."""
    types: bool = True
    """A table of token types."""
    qkv_bias: tuple[str, bool] | bool = True
    o_bias: tuple[str, bool] | bool = True
    up_bias: tuple[str, bool] | bool = True
    down_bias: tuple[str, bool] | bool = True
    norm_bias: tuple[str, bool] | bool = True
    final_norm: bool = False
    first_norm: bool = True
    """False where layer 0 has no norm before attention."""
    head: str = "pooler"
    """Head of a reranker: ``pooler`` (dense, then labels), ``modern`` (without biases, with a norm)."""


BERT = Kind()
ROTARY = Kind(learned=False, gated=True, up_bias=False)
NOMIC = replace(
    ROTARY, qkv_bias=("qkv_proj_bias", True), o_bias=("qkv_proj_bias", True), up_bias=("mlp_fc1_bias", True),
    down_bias=("mlp_fc2_bias", True),
)  # fmt: skip
MODERN = Kind(
    gated=True, learned=False, types=False, qkv_bias=("attention_bias", False), o_bias=("attention_bias", False),
    up_bias=("mlp_bias", False), down_bias=("mlp_bias", False), norm_bias=("norm_bias", False), final_norm=True,
    first_norm=False, head="modern",
)  # fmt: skip
KINDS: Mapping[str, Kind] = {
    "BertForSequenceClassification": BERT,
    "BertModel": BERT,
    "GteModel": ROTARY,
    "GteNewForSequenceClassification": ROTARY,
    "GteNewModel": ROTARY,
    "ModernBertForSequenceClassification": MODERN,
    "ModernBertModel": MODERN,
    "NewForSequenceClassification": ROTARY,
    "NewModel": ROTARY,
    "NomicBertModel": NOMIC,
    "RobertaForSequenceClassification": BERT,
    "RobertaModel": BERT,
    "XLMRobertaForSequenceClassification": BERT,
    "XLMRobertaModel": BERT,
}
ARCHITECTURES = tuple(KINDS)


def build(config: Config, identity: Identity) -> ModelSpec:
    """Return an encoder with its head, if it has one. BadInput for what its class does not serve."""
    architecture = architecture_of(config)
    kind = KINDS[architecture]
    usual = dict(config)
    for name, other in ALIASES.items():
        if usual.get(name) is None:
            usual[name] = config.get(other)
    if usual.get("torch_dtype") is None and usual.get("dtype") is None:
        usual["torch_dtype"] = "float32"  # what a file without the field means
    shape = shape_of(usual, tied_by_default=True)
    if shape.kv_heads != shape.heads:
        raise BadInput("config.json: num_key_value_heads", f"{shape.kv_heads} in an encoder, which has one per head")
    width = whole(usual, "intermediate_size")
    weights = [*_layers(usual, shape, kind, width), *_tables(usual, shape, kind)]
    if architecture.endswith("ForSequenceClassification"):
        weights += classifier(shape.hidden, labels(config), kind.head)
    return describe(
        usual, shape, identity, family="embedding", intermediate_size=width, weights=weights, kv_groups=(),
        generates=False, rotary_dim=0 if kind.learned else shape.head_dim, rotary_tables=2 if kind is MODERN else 1,
    )  # fmt: skip


def _layers(config: Config, shape: Shape, kind: Kind, width: int) -> list[WeightGroup]:
    layers, hidden = range(shape.layers), shape.hidden
    groups = [
        *attention(
            layers, hidden=hidden, heads=shape.heads, kv_heads=shape.heads, head_dim=shape.head_dim,
            qkv_bias=_on(config, kind.qkv_bias), o_bias=_on(config, kind.o_bias),
        ),
        *mlp(layers, hidden=hidden, width=width, gated=kind.gated),
    ]  # fmt: skip
    if _on(config, kind.up_bias):
        rows = width * (2 if kind.gated else 1)
        groups.append(replace(vector("up_bias", rows, layers), split="out"))
    if _on(config, kind.down_bias):
        groups.append(vector("down_bias", hidden, layers))
    norm = hidden * (1 + _on(config, kind.norm_bias))
    groups.append(vector("mlp_norm", norm, layers))
    groups.append(vector("attention_norm", norm, layers if kind.first_norm else range(1, shape.layers)))
    return groups


def _tables(config: Config, shape: Shape, kind: Kind) -> list[WeightGroup]:
    """Return the embeddings: words, positions and types, all split like a vocabulary, and their norms."""
    rows = {"words": shape.vocabulary}
    if kind.learned:
        rows["positions"] = shape.positions
    if kind.types:
        rows["types"] = whole(config, "type_vocab_size", 2)
    table = WeightGroup(
        name="words", rows=1, columns=shape.hidden, split="vocabulary", place="first", linear=False
    )  # fmt: skip
    norm = vector("embedding_norm", shape.hidden * (1 + _on(config, kind.norm_bias)), (0,))
    groups = [replace(table, name=name, rows=count) for name, count in rows.items()]
    groups.append(replace(norm, place="first"))
    if kind.final_norm:
        groups.append(replace(norm, name="final_norm", place="last"))
    return groups


def labels(config: Config) -> int:
    """Return the classes of a head: ``num_labels``, the entries of ``id2label``, or two as transformers assumes."""
    named = config.get("id2label")
    if named is None or config.get("num_labels") is not None:
        return whole(config, "num_labels", 2)
    if not isinstance(named, Mapping) or not 0 < len(named) <= LARGEST_HEAD:
        raise BadInput("config.json: id2label", f"{str(named)[:40]!r}", limit=f"an object of 1 to {LARGEST_HEAD} names")
    return len(named)


LARGEST_HEAD = 1 << 16


def classifier(hidden: int, count: int, head: str) -> list[WeightGroup]:
    """Return a head for classification in float32: dense layer with bias (or norm), then ``count`` labels."""
    dense = hidden * hidden + hidden
    sizes = {"pooler": dense + count * (hidden + 1), "modern": dense + count * (hidden + 1), "score": count * hidden}
    return [replace(vector("classifier", sizes[head], (0,), element_bytes=FLOAT32), place="last")]


def _on(config: Config, switch: tuple[str, bool] | bool) -> bool:
    return switch if isinstance(switch, bool) else flag(config, *switch)
