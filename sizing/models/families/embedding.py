"""Decoders that embed or rank: the layers and the cache of their family, without its head, and no tokens drawn.

vLLM turns a class for generation into one for pooling (``as_embedding_model``, ``as_seq_cls_model`` in adapters.py):
the output head is not loaded; a reranker gets a ``score`` layer in float32. Attention stays causal and keeps its
cache, unless attention is bidirectional.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.models.blocks.fields import flag
from sizing.models.blocks.parts import Identity, architecture_of
from sizing.models.blocks.registry import family_of
from sizing.models.families.encoders import classifier, labels
from sizing.models.spec import ModelSpec

GENERATORS = {
    "Gemma2Model": "Gemma2ForCausalLM",
    "Gemma2ForSequenceClassification": "Gemma2ForCausalLM",
    "Gemma3TextModel": "Gemma3ForCausalLM",
    "LlamaBidirectionalForSequenceClassification": "LlamaForCausalLM",
    "LlamaBidirectionalModel": "LlamaForCausalLM",
    "LlamaForSequenceClassification": "LlamaForCausalLM",
    "LlamaModel": "LlamaForCausalLM",
    "MistralForSequenceClassification": "MistralForCausalLM",
    "MistralModel": "MistralForCausalLM",
    "Phi3ForSequenceClassification": "Phi3ForCausalLM",
    "Qwen2ForSequenceClassification": "Qwen2ForCausalLM",
    "Qwen2Model": "Qwen2ForCausalLM",
    "Qwen3ForSequenceClassification": "Qwen3ForCausalLM",
    "Qwen3Model": "Qwen3ForCausalLM",
}
"""Class that pools -> the class for generation whose layers it has."""
ARCHITECTURES = tuple(GENERATORS)


def served_as_embedding(config: Mapping[str, object]) -> Mapping[str, object]:
    """Return the configuration as vLLM reads it with ``--runner pooling``: a class for generation pools instead.

    Checkpoints of sentence-transformers (with a ``modules.json``) are read so by themselves.
    """
    architecture = architecture_of(config)
    pooling = next((name for name, other in sorted(GENERATORS.items()) if other == architecture and _plain(name)), None)
    return {**config, "architectures": [pooling]} if pooling else config


def _plain(name: str) -> bool:
    return name.endswith("Model") and "Bidirectional" not in name


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the decoder without its head; a class for classification has ``score`` instead."""
    architecture = architecture_of(config)
    inner = {**config, "architectures": [GENERATORS[architecture]]}
    model = family_of(inner)(inner, identity)
    weights = [group for group in model.weights if group.name != "lm_head"]
    if architecture.endswith("ForSequenceClassification"):
        weights += classifier(model.hidden_size, labels(config), "score")
    both_ways = "Bidirectional" in architecture or flag(config, "use_bidirectional_attention", False)
    return replace(
        model,
        architecture=architecture,
        family="embedding",
        weights=tuple(weights),
        kv_groups=() if both_ways else model.kv_groups,
        generates=False,
    )
