"""What a model is: shapes read from a real ``config.json``, as groups of weights and layers that keep KV.

``model_from_config`` validates the fields and hands them to the family that knows the architecture
(``sizing.models.families``). A family describes the model as ``WeightGroup`` (matrices with the way vLLM splits
them) and ``KvGroup`` (layers with the same cache), and everything else is computed from those two lists.
Nothing is guessed: an unknown architecture, quantisation or a missing field is refused by name.
Sizes are bytes here; the estimate turns them into GiB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from sizing.models.kv_groups import KvGroup
from sizing.models.quantisation.config import Quantisation, group_bytes
from sizing.models.weight_groups import Stage, WeightGroup

BYTES_OF_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
VOCABULARY_PADDING = 64
"""vLLM pads the vocabulary to a multiple of this (DEFAULT_VOCAB_PADDING_SIZE)."""


@dataclass(frozen=True, kw_only=True)
class EncoderRun:
    """What the profile run sends through an image or audio encoder: items of the largest size.

    vLLM fills the encoder budget, the larger of ``max_num_batched_tokens`` and one item, with such items
    (``MultiModalBudget``), and keeps their embeddings while it profiles the language model.
    """

    tokens: int
    """Embeddings of one image (or one pair of video frames) of the largest size."""
    positions: int
    """Positions of that image inside the encoder: patches before they are merged."""
    hidden: int
    width: int
    """Elements alive in the MLP of one position, divided by tensor parallelism: all its inner matrices."""
    out: int
    """Elements of one embedding that the language model takes."""
    extra: int = 0
    """Further elements that a position keeps: its pixels (float32 and again in the model's type), and learned
    positions while they are interpolated."""
    most: int = 1
    """Images of the largest size in one item, as frames of a video, where the context holds them."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model as the estimate needs it. ``max_position_embeddings`` is the longest context in tokens."""

    name: str
    revision: str
    architecture: str
    family: str
    dtype: str
    hidden_size: int
    num_layers: int
    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    quantisation: Quantisation
    kv_cache_dtype: str
    """``auto`` or ``fp8`` where the checkpoint itself switches the cache to fp8."""
    rotary_dim: int
    """Elements of one row of the rotary cache; 0 where positions are learned."""
    weights: tuple[WeightGroup, ...]
    kv_groups: tuple[KvGroup, ...]
    experts: int = 0
    experts_per_token: int = 0
    rotary_tables: int = 1
    """Rotary caches of different base or scaling (local and global layers)."""
    rotary_positions: int | None = None
    """Rows of the rotary cache where it is longer than the context; None: the context."""
    context_elements: int = 0
    """Keys and values over all heads that one cached token becomes when a prompt is read (dense MLA)."""
    encoder_run: EncoderRun | None = None
    """Profile run of an image or audio encoder; None for text models."""
    generates: bool = True
    """False for embedding and reranking models: no sampler, and no cache where attention is bidirectional."""
    activation_elements: int = 0
    """Elements of one token alive in a layer, beyond those of ordinary attention and MLP."""
    least_version: str = ""
    """Oldest vLLM whose caches are those described here; empty: every version."""
    draft_layers: int = 0
    """Layers for multi-token prediction in the checkpoint, loaded only with speculative decoding."""
    checkpoint_bytes: int | None = None

    def __hash__(self) -> int:
        """Hash few fields: the description is a key of caches, and equality still compares all of it."""
        return hash((self.name, self.revision, self.dtype, self.num_layers, self.hidden_size))

    @property
    def parameters(self) -> int:
        """Number of parameters, a tied head counted once."""
        return sum(group.elements for group in self.weights if not (group.tied or group.draft or group.derived))

    @property
    def active_parameters(self) -> int:
        """Parameters that one token passes through (all of them in a dense model)."""
        total = self.parameters
        if self.experts:
            routed = sum(group.elements for group in self.weights if group.expert and not group.draft)
            total -= routed - routed * self.experts_per_token // self.experts
        return total

    @property
    def vocabulary_padded(self) -> int:
        """Vocabulary rows as vLLM stores them."""
        return -(-self.vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING

    @property
    def is_hybrid(self) -> bool:
        """True where layers keep caches that do not all grow with every token."""
        return any(not group.grows for group in self.kv_groups)

    @property
    def rotary_bytes(self) -> int:
        """Bytes of the rotary caches, on every rank (2 bytes an element)."""
        return self.rotary_tables * (self.rotary_positions or self.max_position_embeddings) * self.rotary_dim * 2

    def kv_bytes_per_token(self, dtype: str = "auto") -> int:
        """Bytes that one more token adds over all layers and heads (no parallelism); ``dtype`` auto or fp8.

        Windows and recurrent states do not grow and are not in it.
        """
        element = self.kv_element_bytes(dtype)
        return sum(len(group.layers) * group.token_bytes(element) for group in self.kv_groups if group.grows)

    def kv_element_bytes(self, dtype: str = "auto") -> int:
        """Bytes of one KV element: ``auto`` follows the checkpoint, then the model's type."""
        chosen = self.kv_cache_dtype if dtype == "auto" else dtype
        return BYTES_OF_DTYPE[self.dtype if chosen == "auto" else "fp8" if chosen.startswith("fp8") else chosen]

    def weight_bytes(
        self, *, tensor_parallel: int = 1, stage: Stage | None = None, expert_parallel: int = 1, draft: bool = False,
        derived: bool = False,
    ) -> int:  # fmt: skip
        """Bytes of the weights on one rank of a pipeline stage (default: the whole model).

        ``expert_parallel`` above 1 divides the experts over that many ranks instead of splitting each;
        ``draft`` adds the layers of multi-token prediction, ``derived`` what is made of the weights after loading.
        """
        whole = Stage(first=0, layers=self.num_layers, of=self.num_layers)
        return _weight_bytes(self, tensor_parallel, expert_parallel, stage or whole, (draft, derived))

    @property
    def chunks_prompts(self) -> bool:
        """False for bidirectional encoders: a whole prompt is one batch (``is_chunked_prefill_supported``)."""
        return bool(self.kv_groups) and not any(group.kind == "cross" for group in self.kv_groups)

    def checkpoint_size(self) -> int:
        """Bytes of the checkpoint: as stated, else computed from the shapes as files hold them."""
        if self.checkpoint_bytes is not None:
            return self.checkpoint_bytes
        return replace(self, quantisation=replace(self.quantisation, layout="checkpoint")).weight_bytes(draft=True)


@lru_cache(maxsize=4096)
def _weight_bytes(
    model: ModelSpec, tensor_parallel: int, expert_parallel: int, stage: Stage, extra: tuple[bool, bool]
) -> int:
    draft, derived = extra
    return sum(
        group_on_rank(model, group, tensor_parallel, expert_parallel, stage)
        for group in model.weights
        if (draft or not group.draft) and (derived or not group.derived)
    )


def group_on_rank(model: ModelSpec, group: WeightGroup, n: int, expert_parallel: int, stage: Stage) -> int:
    """Return the bytes of one group on one rank of ``n``, on one stage of the pipeline."""
    if group.place == "first" and not stage.is_first:
        return 0
    if group.place == "last" and not stage.is_last:
        return 0
    if group.tied and (stage.is_first or group.place == "every"):
        return 0
    layers = stage.held(group.layers) if group.place == "layers" else group.layers
    whole_experts = group.expert and expert_parallel > 1
    rows, columns = (group.rows, group.columns) if whole_experts else _shape_on_rank(group, n)
    return group_bytes(
        model.quantisation if group.linear else None,
        group.element_bytes or BYTES_OF_DTYPE[model.dtype],
        rows=rows,
        columns=columns,
        count=-(-group.copies // expert_parallel) if whole_experts else group.copies,
        layers=layers,
        path=group.path,
        expert=group.expert or None,
    )


def _shape_on_rank(group: WeightGroup, n: int) -> tuple[int, int]:
    least = group.least_share if n > 1 else 0
    if group.split == "out":
        return max(-(-group.rows // n), least), group.columns
    if group.split == "in":
        return group.rows, max(-(-group.columns // n), least)
    if group.split == "kv":
        return group.rows // group.kv_heads * max(1, group.kv_heads // n), group.columns
    if group.split == "vocabulary":
        return -(-group.rows // VOCABULARY_PADDING) * VOCABULARY_PADDING // n, group.columns
    return group.rows, group.columns
