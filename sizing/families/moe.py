"""Mixtures of experts: Mixtral, Qwen2-MoE, Qwen3-MoE.

Attention as in the dense family; a router (never quantised, on every rank) and experts that tensor
parallelism splits inside each expert, as vLLM does without expert parallelism.
"""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput
from sizing.families.dense import decoder_attention
from sizing.families.fields import whole
from sizing.families.parts import Identity, describe, embeddings, experts, mlp, shape_of, vector
from sizing.families.windows import caches
from sizing.model import ModelSpec

ARCHITECTURES = ("MixtralForCausalLM", "Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM")


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a mixture of experts; every layer must have experts."""
    if config.get("mlp_only_layers") or whole(config, "decoder_sparse_step", 1) != 1:
        raise BadInput("config.json: mlp_only_layers", "layers without experts are not yet modelled in this family")
    shape = shape_of(config)
    layers, hidden = range(shape.layers), shape.hidden
    count = whole(config, "num_experts", whole(config, "num_local_experts", 0) or None)
    chosen = chosen_experts(config, count)
    width = whole(config, "moe_intermediate_size", whole(config, "intermediate_size"))
    groups = [*decoder_attention(config, shape), *experts(layers, hidden=hidden, width=width, count=count)]
    if config.get("shared_expert_intermediate_size"):
        shared = whole(config, "shared_expert_intermediate_size")
        groups += mlp(layers, hidden=hidden, width=shared, path="model.layers.{i}.mlp.shared_expert.")
        groups.append(vector("shared_gate", hidden, layers))
    return describe(
        config, shape, identity, family="moe", intermediate_size=width, weights=(*groups, *embeddings(shape)),
        kv_groups=caches(config, shape), experts=count, experts_per_token=chosen,
    )  # fmt: skip


def chosen_experts(config: Mapping[str, object], count: int, key: str = "num_experts_per_tok") -> int:
    """Return the experts that one token is sent to; BadInput above their number."""
    chosen = whole(config, key)
    if chosen > count:
        raise BadInput(f"config.json: {key}", f"{chosen}", limit=f"num_experts {count}")
    return chosen
