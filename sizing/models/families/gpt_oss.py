"""gpt-oss: experts in MXFP4 with biases, sliding and full attention in turn, attention sinks.

Source: vLLM 0.32.0, ``model_executor/models/gpt_oss.py``: every even layer has the window, whatever
``layer_types`` says, so a file that says otherwise is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import whole
from sizing.models.blocks.layer_kinds import layer_kinds, of_kind, window_of
from sizing.models.blocks.mixture import chosen_experts
from sizing.models.blocks.parts import Identity, attention, describe, embeddings, experts, full_cache, shape_of, vector
from sizing.models.blocks.windows import interleaved, window_cache
from sizing.models.spec import ModelSpec

ARCHITECTURES = ("GptOssForCausalLM",)
FLOAT32_TABLES = 2
"""The rotary cache is kept in float32: twice the two bytes an element of others."""


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a gpt-oss model; BadInput where layers do not take turns."""
    shape = shape_of(config)
    layers, hidden = range(shape.layers), shape.hidden
    sliding, full = _turns(config, shape.layers)
    number, width = whole(config, "num_local_experts"), whole(config, "intermediate_size")
    weights = (
        *attention(
            layers, hidden=hidden, heads=shape.heads, kv_heads=shape.kv_heads, head_dim=shape.head_dim,
            qkv_bias=True, o_bias=True,
        ),
        replace(vector("sinks", shape.heads, layers), split="out"),
        vector("layer_norms", 2 * hidden, layers),
        *experts(layers, hidden=hidden, width=width, count=number, bias=True, router_bias=True),
        *embeddings(shape),
    )  # fmt: skip
    return describe(
        config, shape, identity, family="sliding-window-hybrid", intermediate_size=width, weights=weights,
        kv_groups=interleaved(full_cache(shape, full), window_cache(shape, sliding, window_of(config))),
        experts=number, experts_per_token=chosen_experts(config, number), rotary_tables=FLOAT32_TABLES,
    )  # fmt: skip


def _turns(config: Mapping[str, object], layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the layers with the window and those without."""
    kinds = tuple("full" if index % 2 else "sliding" for index in range(layers))
    if layer_kinds(config, layers, default=kinds) != kinds:
        raise BadInput("config.json: layer_types", "layers that do not alternate sliding and full", limit="gpt-oss")
    return of_kind(kinds, "sliding"), of_kind(kinds, "full")
