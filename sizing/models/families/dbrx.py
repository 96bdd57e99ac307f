"""DBRX: experts in every layer, its own names for the usual fields.

Source: vLLM 0.32.0, ``model_executor/models/dbrx.py``.
"""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput
from sizing.models.blocks.parts import Identity, shape_of
from sizing.models.families.moe import Dialect, mixture_model
from sizing.models.spec import ModelSpec

ARCHITECTURES = ("DbrxForCausalLM",)
DIALECT = Dialect(width="intermediate_size", module="ffn.", names=("w1", "v1", "w2"))
NAMES = {
    "hidden_size": "d_model",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "max_position_embeddings": "max_seq_len",
    "num_key_value_heads": "attn_config.kv_n_heads",
    "intermediate_size": "ffn_config.ffn_hidden_size",
    "num_experts": "ffn_config.moe_num_experts",
    "num_experts_per_tok": "ffn_config.moe_top_k",
}
"""Usual name of a field -> where DBRX keeps it."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a DBRX model."""
    usual = {**config, **{name: _found(config, place) for name, place in NAMES.items()}}
    return mixture_model(usual, identity, DIALECT, shape_of(usual))


def _found(config: Mapping[str, object], place: str) -> object:
    """Return the value at ``place``, ``outer.inner`` for a nested one."""
    outer, _, inner = place.partition(".")
    if not inner:
        return config.get(outer)
    nested = config.get(outer)
    if not isinstance(nested, Mapping):
        raise BadInput(f"config.json: {outer}", f"expected an object, got {type(nested).__name__}")
    return nested.get(inner)
