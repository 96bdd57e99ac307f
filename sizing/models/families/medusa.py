"""Medusa: heads that each draft the token some places ahead, from the last hidden state of another model.

A head is a few square layers, whole on every rank, and an output head over the vocabulary. Nothing is cached.
Source: vLLM 0.32.0 ``medusa.py`` and ``transformers_utils/configs/medusa.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.models.blocks.fields import flag, whole
from sizing.models.blocks.parts import Identity, Shape, architecture_of, describe, replicated, vector
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("MedusaModel",)


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of all heads; vLLM loads as many as there are speculative tokens
    (``sizing.engine.draft_model``).
    """
    hidden, vocabulary = whole(config, "hidden_size"), whole(config, "vocab_size")
    heads = whole(config, "medusa_num_heads" if "medusa_num_heads" in config else "num_heads")
    depth = whole(config, "medusa_num_layers" if "medusa_num_layers" in config else "num_hidden_layers", 1)
    one = flag(config, "original_lm_head", False)
    rows = whole(config, "truncated_vocab_size", vocabulary) if one else vocabulary
    blocks = [replicated("medusa_blocks", hidden, hidden, range(depth))]
    if flag(config, "medusa_fc_bias", False):
        blocks.append(vector("medusa_biases", hidden, range(depth)))
    output = WeightGroup(
        name="lm_head" if one else "medusa_heads", rows=rows, columns=hidden, split="vocabulary", place="last",
        linear=False, copies=1 if one else heads,
    )  # fmt: skip
    shape = Shape(
        architecture=architecture_of(config), hidden=hidden, layers=depth, heads=heads, kv_heads=heads, head_dim=0,
        vocabulary=vocabulary, positions=1, tied=False,
    )  # fmt: skip
    return describe(
        {"torch_dtype": "bfloat16", **config}, shape, identity, family="medusa", intermediate_size=0,
        weights=(*(replace(group, copies=heads) for group in blocks), output), kv_groups=(),
    )  # fmt: skip
