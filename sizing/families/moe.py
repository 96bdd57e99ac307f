"""Mixtures of experts with full attention: Mixtral, Qwen2-MoE, Qwen3-MoE.

Attention as in the dense family; a router (never quantised, on every rank) and experts that tensor
parallelism splits inside each expert, as vLLM does without expert parallelism.
"""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput
from sizing.families.dense import assemble, attention_groups, mlp_groups
from sizing.families.fields import whole
from sizing.model import ModelSpec, WeightGroup

ARCHITECTURES = ("MixtralForCausalLM", "Qwen2MoeForCausalLM", "Qwen3MoeForCausalLM")


def build(config: Mapping[str, object], *, name: str, checkpoint_bytes: int | None, revision: str) -> ModelSpec:
    """Return the description of a mixture of experts; every layer must have experts."""
    if config.get("mlp_only_layers") or whole(config, "decoder_sparse_step", 1) != 1:
        raise BadInput("config.json: mlp_only_layers", "layers without experts are not yet modelled in this family")
    hidden, layers = whole(config, "hidden_size"), whole(config, "num_hidden_layers")
    experts = whole(config, "num_experts", whole(config, "num_local_experts", 0) or None)
    chosen = whole(config, "num_experts_per_tok")
    if chosen > experts:
        raise BadInput("config.json: num_experts_per_tok", f"{chosen}", limit=f"num_experts {experts}")
    width = whole(config, "moe_intermediate_size", whole(config, "intermediate_size"))
    router = WeightGroup(name="router", rows=experts, columns=hidden, split="replicated", layers=layers, linear=False)
    groups = [*attention_groups(config), router]
    groups += mlp_groups(hidden, width, 0, layers, copies=experts, path="mlp.experts.0")
    if config.get("shared_expert_intermediate_size"):
        shared = whole(config, "shared_expert_intermediate_size")
        groups += mlp_groups(hidden, shared, 0, layers, path="mlp.shared_expert")
        gate = WeightGroup(name="shared_gate", rows=hidden, columns=1, split="replicated", layers=layers, linear=False)
        groups.append(gate)
    return assemble(
        config, tuple(groups), name=name, checkpoint_bytes=checkpoint_bytes, revision=revision,
        intermediate_size=width, family="moe", experts=experts, experts_per_token=chosen,
    )  # fmt: skip
