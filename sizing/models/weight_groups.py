"""Weights of a model by group: their shape, how tensor parallelism splits them, and which pipeline stage holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Split = Literal["out", "in", "kv", "vocabulary", "replicated"]


Place = Literal["layers", "first", "last", "every"]
"""Stage of a pipeline that holds a group: those of its layers, the first, the last, or every one."""


@dataclass(frozen=True, kw_only=True)
class WeightGroup:
    """One matrix (or vector, ``columns`` 1) that occurs in some layers.

    ``split`` is how tensor parallelism divides it: by output rows, by input columns, by KV heads (replicated
    beyond their number), by padded vocabulary, or not at all.
    """

    name: str
    rows: int
    columns: int
    split: Split
    place: Place = "layers"
    layers: Sequence[int] = (0,)
    """Indices of the decoder layers that have it; one entry for what stands outside the layers."""
    copies: int = 1
    """Matrices per layer, for example experts."""
    kv_heads: int = 1
    """Heads of a group split by KV heads."""
    expert: bool = False
    """True for routed experts: expert parallelism divides ``copies`` and leaves the matrices whole."""
    linear: bool = True
    """True for what a checkpoint may quantise (linear layers of the blocks)."""
    element_bytes: int | None = None
    """Bytes of one element where the engine keeps another type than the model's (a router in float32)."""
    path: str = ""
    """Module path with ``{i}`` for the layer, as a checkpoint's ignore list names it."""
    tied: bool = False
    """True for an output head that is the embedding again: memory only where a stage does not hold both."""
    draft: bool = False
    """True for layers of multi-token prediction, loaded only with speculative decoding."""
    least_share: int = 0
    """Rows (``out``) or columns (``in``) that one of several ranks holds at least; less is padded."""
    encoder: bool = False
    """True for a vision or audio encoder, left out where only text is served."""
    derived: bool = False
    """True for what the engine makes of other weights after loading; not in the checkpoint."""

    @property
    def elements(self) -> int:
        """Parameters of the group over all layers and copies."""
        return self.rows * self.columns * self.copies * len(self.layers)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Layers of one pipeline stage: ``layers`` from ``first``, of a model with ``of`` layers."""

    first: int
    layers: int
    of: int

    @property
    def is_first(self) -> bool:
        """True for the stage with the embedding."""
        return self.first == 0

    @property
    def is_last(self) -> bool:
        """True for the stage with the final norm and the output head."""
        return self.first + self.layers == self.of

    def held(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Return those of ``layers`` that this stage holds; layers of a draft come after the last."""
        if self.layers == self.of:
            return tuple(layers)
        end = self.first + self.layers
        return tuple(i for i in layers if self.first <= i < end or (self.is_last and i >= self.of))
