"""Experts of a decoder as most mixtures have them: routed experts, shared experts, some layers dense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizing.errors import BadInput
from sizing.models.blocks.fields import whole
from sizing.models.blocks.parts import LAYER, experts, mlp, vector
from sizing.models.weight_groups import WeightGroup


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Experts of a model. Widths in elements; ``count`` 0 for a dense model."""

    count: int
    chosen: int
    width: int
    dense_width: int = 0
    """Width of the MLP in layers without experts."""
    shared_width: int = 0
    """Width of the shared expert, which every token passes; 0 for none."""
    shared_gate: bool = False
    """True where a vector weighs the shared MLP."""
    dense_layers: frozenset[int] = frozenset()
    """Decoder layers with one MLP in place of experts."""
    router_bytes: int | None = None
    """Bytes of a router's element where it is not of the model's type."""
    quantised_router: bool = False
    """True where the engine gives the router the checkpoint's quantisation, which then names it among the ignored."""
    score_bias: bool = False
    """True where experts are chosen with a learned bias in float32."""
    module: str = "mlp."
    experts: str = "experts.0."
    shared: str = "shared_experts."
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")


def chosen_experts(config: Mapping[str, object], number: int, key: str = "num_experts_per_tok") -> int:
    """Return the experts that one token is sent to; BadInput above their number."""
    if not number:
        return 0
    chosen = whole(config, key)
    if chosen > number:
        raise BadInput(f"config.json: {key}", f"{chosen}", limit=f"{number}, the experts of a layer")
    return chosen


def mixture_weights(mixture: Mixture, hidden: int, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return the MLPs of ``layers``: experts with router and shared part, or one MLP where the layer is dense."""
    dense = tuple(i for i in layers if i in mixture.dense_layers)
    sparse = tuple(i for i in layers if i not in mixture.dense_layers)
    path, groups = LAYER + mixture.module, list[WeightGroup]()
    if dense:
        groups += mlp(dense, hidden=hidden, width=mixture.dense_width, path=path)
    if not sparse:
        return tuple(groups)
    groups += experts(
        sparse, hidden=hidden, width=mixture.width, count=mixture.count, router_bytes=mixture.router_bytes,
        path=path + mixture.experts, names=mixture.names, router_path=path + "gate" if mixture.quantised_router else "",
    )  # fmt: skip
    if mixture.score_bias:
        groups.append(vector("score_bias", mixture.count, sparse, element_bytes=4))
    if mixture.shared_width:
        groups += mlp(sparse, hidden=hidden, width=mixture.shared_width, path=path + mixture.shared)
    if mixture.shared_gate:
        groups.append(vector("shared_gate", hidden, sparse))
    return tuple(groups)


def mtp_joint(hidden: int, layers: Sequence[int]) -> tuple[WeightGroup, ...]:
    """Return what a layer of multi-token prediction adds to a decoder layer; embedding and head are shared.

    The projection of hidden state and embedding is a plain matrix, on every rank and never quantised.
    """
    joint = WeightGroup(
        name="eh_proj", rows=hidden, columns=2 * hidden, split="replicated", layers=layers, linear=False
    )
    return (joint, vector("mtp_norms", 3 * hidden, layers))
