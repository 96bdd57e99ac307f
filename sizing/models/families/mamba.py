"""Models of Mamba layers alone: Mamba, Falcon-Mamba, Mamba 2. Their cache is a state, not tokens."""

from __future__ import annotations

from collections.abc import Mapping

from sizing.errors import BadInput
from sizing.models.blocks.fields import dtype_of, flag, whole
from sizing.models.blocks.parts import Identity, Shape, architecture_of, describe, embeddings, vector
from sizing.models.blocks.recurrent import Mamba1, Mamba2, mamba1, mamba1_state, mamba2, mamba2_state
from sizing.models.kv_groups import KvGroup
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup

ARCHITECTURES = ("MambaForCausalLM", "FalconMambaForCausalLM", "Mamba2ForCausalLM")
TIED = ("MambaForCausalLM", "FalconMambaForCausalLM")
CONTEXT = 2048
"""Context that vLLM takes where the file states none."""
MIXER = "backbone.layers.{i}.mixer."


def build(config: Mapping[str, object], identity: Identity) -> ModelSpec:
    """Return the description of a model without attention."""
    dtype_of(config)
    part = _mamba2 if architecture_of(config) == "Mamba2ForCausalLM" else _mamba1
    layers, hidden = range(whole(config, "num_hidden_layers")), whole(config, "hidden_size")
    inner, heads, weights, state = part(config, layers, hidden)
    shape = Shape(
        architecture=architecture_of(config), hidden=hidden, layers=len(layers), heads=heads, kv_heads=heads,
        head_dim=inner // heads, vocabulary=whole(config, "vocab_size"),
        positions=whole(config, "max_position_embeddings", CONTEXT),
        tied=flag(config, "tie_word_embeddings", architecture_of(config) in TIED),
    )  # fmt: skip
    return describe(
        config, shape, identity, family="mamba-hybrid", intermediate_size=inner, rotary_dim=0, kv_groups=(state,),
        weights=(*weights, vector("layer_norms", hidden, layers), *embeddings(shape)),
    )  # fmt: skip


def _mamba1(
    config: Mapping[str, object], layers: range, hidden: int
) -> tuple[int, int, tuple[WeightGroup, ...], KvGroup]:
    inner = whole(config, "intermediate_size", whole(config, "expand", 2) * hidden)
    net = Mamba1(
        inner=inner, state=whole(config, "state_size"), taps=whole(config, "conv_kernel"),
        rank=-(-hidden // 16) if config.get("time_step_rank") in (None, "auto") else whole(config, "time_step_rank"),
        conv_bias=flag(config, "use_conv_bias", True), bias=flag(config, "use_bias", False),
    )  # fmt: skip
    return inner, inner, mamba1(net, layers, hidden=hidden, path=MIXER), mamba1_state(net, layers)


def _mamba2(
    config: Mapping[str, object], layers: range, hidden: int
) -> tuple[int, int, tuple[WeightGroup, ...], KvGroup]:
    net = Mamba2(
        heads=whole(config, "num_heads"), head_dim=whole(config, "head_dim"), groups=whole(config, "n_groups", 1),
        state=whole(config, "state_size"), taps=whole(config, "conv_kernel"),
        conv_bias=flag(config, "use_conv_bias", True), bias=flag(config, "use_bias", False),
    )  # fmt: skip
    inner = whole(config, "expand", 2) * hidden
    if net.inner != inner:
        raise BadInput("config.json: num_heads", f"{net.heads} heads of {net.head_dim} are not expand x hidden_size")
    weights = mamba2(net, layers, hidden=hidden, path=MIXER)
    return inner, net.heads, weights, mamba2_state(net, layers)
