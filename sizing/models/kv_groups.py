"""What a token, or a sequence, keeps in the KV cache: groups of layers that keep the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class StateTensor:
    """One tensor of a recurrent layer's state for one sequence: convolution window or temporal state."""

    elements: int
    """Elements of the whole layer, before tensor parallelism."""
    element_bytes: int | None = None
    """Bytes of an element; None follows the model's type."""
    sharded: bool = True
    """False where every rank of tensor parallelism keeps all of it."""
    groups: int = 1
    """Groups of B and C of a Mamba 2 layer; where ranks do not divide them, every rank keeps one."""
    group_elements: int = 0
    """Elements of one such group, counted in ``elements`` too."""
    window: int = 0
    """Positions of a convolution's window in ``elements``, to which every speculative token adds one."""

    def elements_on_rank(self, tensor_parallel: int, speculative_tokens: int = 0) -> int:
        """Elements of one layer on one rank."""
        extra = 0 if self.groups % tensor_parallel == 0 else tensor_parallel - self.groups
        total = self.elements + extra * self.group_elements
        share = -(-total // tensor_parallel) if self.sharded else total
        return share // self.window * (self.window + speculative_tokens) if self.window else share


KvKind = Literal["full", "sliding", "chunked", "latent", "state", "ring", "cross"]
"""What a layer keeps: every token, the last ``window`` tokens, a chunk, MLA's latent, a recurrent state, one block
used as a ring, or the encoder's output."""


@dataclass(frozen=True, kw_only=True)
class KvGroup:
    """Layers that keep the same cache."""

    kind: KvKind
    layers: Sequence[int]
    kv_heads: int = 1
    head_dim: int = 0
    """Elements of one key; for MLA the latent with its rotary part."""
    head_dim_v: int | None = None
    """Elements of one value where it differs from the key; 0 for what keeps no value (MLA)."""
    element_bytes: int | None = None
    """Bytes of one element where the type is fixed (an indexer in fp8); None follows the cache's type."""
    fp8_token_bytes: int | None = None
    """Bytes of one token of one layer under an fp8 cache where the layout is its own (sparse MLA: 656)."""
    extra_bytes: int = 0
    """Bytes per token in addition to the elements, for example scales."""
    window: int = 0
    """Tokens of the window (``sliding``) or the chunk (``chunked``), or of the encoder (``cross``); on ``full``
    layers a window as long as the context."""
    state: tuple[StateTensor, ...] = ()
    """Tensors of one sequence (``state``)."""
    block_tokens: int = 0
    """Tokens of a block where the layout is its own; 0 follows the engine."""
    page_bytes: int = 0
    """Bytes of such a block in one layer; 0: as the elements give."""
    tokens_per_entry: int = 1
    """Tokens that share one entry of the cache (an indexer of pooled keys)."""
    stride_bytes: int = 0
    """Bytes of which the distance between two blocks is a multiple, where kernels need that."""
    checkpoint_blocks: int = 0
    """Blocks of a sequence for the state at a block boundary inside a prefill, where prefixes are cached."""
    replicated: bool = False
    """True where every rank keeps all heads."""

    @property
    def value_dim(self) -> int:
        """Elements of one value."""
        return self.head_dim if self.head_dim_v is None else self.head_dim_v

    @property
    def grows(self) -> bool:
        """True where every token of a request stays in the cache."""
        return self.kind in {"full", "latent"}

    def token_bytes(self, element_bytes: int, tensor_parallel: int = 1) -> int:
        """Bytes of one token in one layer on one rank; heads beyond their number are replicated."""
        if self.page_bytes:
            return -(-self.page_bytes // self.block_tokens)
        heads = self.kv_heads if self.replicated else max(1, self.kv_heads // tensor_parallel)
        element = self.element_bytes or element_bytes
        if element == 1 and self.fp8_token_bytes is not None:
            return self.fp8_token_bytes
        entry = heads * (self.head_dim + self.value_dim) * element + self.extra_bytes
        return -(-entry // self.tokens_per_entry)

    def state_bytes(self, dtype_bytes: int, tensor_parallel: int = 1, speculative_tokens: int = 0) -> int:
        """Bytes of one sequence's state in one layer on one rank."""
        return sum(
            tensor.elements_on_rank(tensor_parallel, speculative_tokens) * (tensor.element_bytes or dtype_bytes)
            for tensor in self.state
        )
