"""Nemotron-H and Nemotron 3: one mixer a layer, Mamba 2, attention, MLP or experts, as a pattern of letters says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.blocks.fields import count, flag, whole
from sizing.models.blocks.layer_kinds import of_kind
from sizing.models.blocks.mixture import chosen_experts
from sizing.models.blocks.parts import (
    LAYER,
    Identity,
    Shape,
    attention,
    describe,
    embeddings,
    experts,
    full_cache,
    mlp,
    replicated,
    shape_of,
    vector,
)
from sizing.models.blocks.recurrent import Mamba2, mamba2, mamba2_state, matrix, state_bytes_of
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("NemotronHForCausalLM",)
LETTERS: Mapping[str, str] = {"M": "state", "*": "full", "-": "mlp", "E": "moe"}
"""Letters of ``hybrid_override_pattern``."""
NAMES: Mapping[str, str] = {
    "mamba": "state", "linear_attention": "state", "attention": "full", "full_attention": "full",
    "mlp": "mlp", "moe": "moe",
}  # fmt: skip
"""Names in ``layers_block_type``."""
MIXER = LAYER + "mixer."


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a model with one mixer a layer."""
    kinds = _kinds(config)
    shape = shape_of({**config, "num_hidden_layers": len(kinds), "head_dim": _head_dim(config)})
    net, full = _mamba(config), of_kind(kinds, "full")
    drafts = count(config, "num_nextn_predict_layers")
    many = whole(config, "n_routed_experts") if "moe" in kinds else 0
    width = whole(config, "intermediate_size", whole(config, "moe_intermediate_size") if many else None)
    own = {kind: of_kind(kinds, kind) for kind in ("state", "full", "mlp", "moe")}
    return describe(
        config, shape, identity, family="mamba-hybrid", intermediate_size=width,
        weights=(
            *mamba2(net, own["state"], hidden=shape.hidden, path=MIXER),
            *_blocks(config, shape, own, width),
            vector("layer_norms", shape.hidden, range(shape.layers)),
            *embeddings(shape),
            *_draft(config, shape, drafts, width),
        ),
        kv_groups=(
            mamba2_state(net, own["state"], temporal_bytes=state_bytes_of(config, "mamba_ssm_cache_dtype", "float32")),
            full_cache(shape, full),
        ),
        rotary_dim=0, experts=many, experts_per_token=chosen_experts(config, many), draft_layers=drafts,
    )  # fmt: skip


def _kinds(config: Mapping[str, object], prefix: str = "") -> tuple[str, ...]:
    """Return the kind of every layer from the pattern of letters or the list of names."""
    key, listed = f"{prefix}hybrid_override_pattern", config.get(f"{prefix}layers_block_type")
    pattern, table = (config.get(key), LETTERS) if listed is None else (listed, NAMES)
    known = isinstance(pattern, list if table is NAMES else str) and 0 < len(pattern) <= 1024
    if not known or not isinstance(pattern, list | str) or any(str(item) not in table for item in pattern):
        limit = f"letters {' '.join(LETTERS)}, or layers_block_type with {', '.join(NAMES)}"
        raise BadInput(f"config.json: {key}", f"{str(pattern)[:40]!r}", limit=limit)
    return tuple(table[str(item)] for item in pattern)


def _head_dim(config: Mapping[str, object]) -> int | None:
    """Return the head dimension under either of its names; None where neither is stated."""
    key = "head_dim" if config.get("head_dim") is not None else "attention_head_dim"
    return whole(config, key) if config.get(key) is not None else None


def _mamba(config: Mapping[str, object]) -> Mamba2:
    return Mamba2(
        heads=whole(config, "mamba_num_heads"),
        head_dim=whole(config, "mamba_head_dim"),
        groups=whole(config, "n_groups"),
        state=whole(config, "ssm_state_size"),
        taps=whole(config, "conv_kernel"),
        conv_bias=flag(config, "use_conv_bias", True),
        bias=flag(config, "use_bias", False),
    )


def _blocks(
    config: Mapping[str, object], shape: Shape, layers: Mapping[str, Sequence[int]], width: int
) -> tuple[WeightGroup, ...]:
    """Return attention, MLPs and experts of ``layers`` by kind."""
    groups = [
        *attention(
            layers["full"], hidden=shape.hidden, heads=shape.heads, kv_heads=shape.kv_heads,
            head_dim=shape.head_dim, path=MIXER,
        )
    ]  # fmt: skip
    if layers["mlp"]:
        bias = flag(config, "mlp_bias", False)
        groups += mlp(layers["mlp"], hidden=shape.hidden, width=width, gated=False, bias=bias, path=MIXER)
    if layers["moe"]:
        groups += _experts(config, shape.hidden, layers["moe"])
    return tuple(groups)


def _experts(config: Mapping[str, object], hidden: int, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return experts without gate, in a latent space where the model has one, and the shared expert."""
    latent, many = count(config, "moe_latent_size"), whole(config, "n_routed_experts")
    router, *routed = experts(
        layers, hidden=latent or hidden, width=whole(config, "moe_intermediate_size"), count=many, gated=False,
        path=MIXER + "experts.0.",
    )  # fmt: skip
    groups = [
        replace(router, columns=hidden),
        *routed,
        vector("score_bias", many, layers, element_bytes=4),
    ]
    shared = count(config, "n_shared_experts")
    if shared:
        width = whole(config, "moe_shared_expert_intermediate_size") * shared
        groups += mlp(layers, hidden=hidden, width=width, gated=False, path=MIXER + "shared_experts.")
    if latent:
        groups.append(replicated("fc1_latent_proj", latent, hidden, layers, path=MIXER + "fc1_latent_proj"))
        groups.append(replicated("fc2_latent_proj", hidden, latent, layers, path=MIXER + "fc2_latent_proj"))
    return tuple(groups)


def _draft(config: Mapping[str, object], shape: Shape, drafts: int, width: int) -> tuple[WeightGroup, ...]:
    """Return the layers of multi-token prediction: a pattern of mixers that counts as one layer of the cache."""
    if not drafts:
        return ()
    if drafts != 1:
        raise BadInput("config.json: num_nextn_predict_layers", f"{drafts}", limit="1, as vLLM serves it")
    stated = config.get("mtp_hybrid_override_pattern") or config.get("mtp_layers_block_type")
    kinds = _kinds(config, "mtp_") if stated else ("full", "moe")
    first = (shape.layers,)
    layers = {kind: first * kinds.count(kind) for kind in ("full", "moe", "mlp")}
    groups = (
        *_blocks(config, shape, layers, width),
        vector("mtp_norms", (3 + len(kinds)) * shape.hidden, first),
        matrix("eh_proj", shape.hidden, 2 * shape.hidden, first, "out", path="mtp.layers.0.eh_proj"),
    )
    own = "mtp.layers.0"
    return tuple(replace(g, draft=True, path=g.path.replace("model.layers.{i}", own)) for g in groups if g.layers)
