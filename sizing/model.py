"""What a model is: shapes read from a real ``config.json``, as groups of weights and layers that keep KV.

``model_from_config`` validates the fields and hands them to the family that knows the architecture
(``sizing.families``). A family describes the model as ``WeightGroup`` (matrices with the way vLLM splits
them) and ``KvGroup`` (layers with the same cache), and everything else is computed from those two lists.
Nothing is guessed: an unknown architecture, quantisation or a missing field is refused by name.
Sizes are bytes here; the estimate turns them into GiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from sizing.errors import BadInput
from sizing.storage.quantisation import Quantisation, blocks_divide, group_bytes

Split = Literal["out", "in", "kv", "vocabulary", "replicated"]
Place = Literal["layers", "first", "last", "every"]
"""Stage of a pipeline that holds a group: those of its layers, the first, the last, or every one."""

BYTES_OF_DTYPE = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
CHECKPOINT_TOLERANCE = 0.2
"""A checkpoint may hold a tied head twice or leave out scales; beyond this share it is another model."""
MOST_RANKS = 64
"""Tensor parallel sizes that are named where a stated one does not divide."""
VOCABULARY_PADDING = 64
"""vLLM pads the vocabulary to a multiple of this (DEFAULT_VOCAB_PADDING_SIZE)."""


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
    """True for a vision or audio tower beside a language model, left out where only text is served."""
    derived: bool = False
    """True for what the engine makes of other weights after loading; not in the checkpoint."""

    @property
    def elements(self) -> int:
        """Parameters of the group over all layers and copies."""
        return self.rows * self.columns * self.copies * len(self.layers)


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
written round and round, or the encoder's output."""


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
    """Bytes per token beside the elements, for example scales."""
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
    """Elements that a position keeps beside: its pixels (float32 and again in the model's type), and learned
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
    encoder_tokens: int = 0
    """Positions that an encoder-decoder keeps for cross attention of one request."""
    generates: bool = True
    """False for embedding and reranking models: no sampler, and no cache where attention looks both ways."""
    activation_elements: int = 0
    """Elements of one token alive in a layer beside what ordinary attention and MLP keep."""
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
        """False for encoders, which look both ways: a whole prompt is one batch (``is_chunked_prefill_supported``)."""
        return bool(self.kv_groups) and not any(group.kind == "cross" for group in self.kv_groups)

    def checkpoint_size(self) -> int:
        """Bytes of the checkpoint: as stated, else computed from the shapes as files hold them."""
        if self.checkpoint_bytes is not None:
            return self.checkpoint_bytes
        return replace(self, quantisation=replace(self.quantisation, layout="checkpoint")).weight_bytes(draft=True)


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


def pipeline_stages(layers: int, pipeline_parallel: int) -> tuple[Stage, ...]:
    """Split ``layers`` as vLLM does: evenly, what remains goes to the stages before the last, from behind."""
    if not 1 <= pipeline_parallel <= layers:
        limit = f"1 to {layers}, the layers of the model"
        raise BadInput("pipeline-parallel", f"{pipeline_parallel} stages", limit=limit)
    counts = [layers // pipeline_parallel] * pipeline_parallel
    remaining = layers % pipeline_parallel
    for index in range(2, remaining + 2):
        counts[-index] += 1
    starts = [sum(counts[:index]) for index in range(pipeline_parallel)]
    return tuple(Stage(first=s, layers=c, of=layers) for s, c in zip(starts, counts, strict=True))


def check_parallel(model: ModelSpec, tensor_parallel: int) -> None:
    """Refuse a tensor parallel size that vLLM refuses: heads, KV heads, MLP or vocabulary that do not divide."""
    sizes = tensor_parallel_sizes(model)
    if tensor_parallel in sizes:
        return
    where, way_out = "tensor-parallel", f"use one of {', '.join(map(str, sizes))}"
    if model.num_attention_heads % tensor_parallel:
        problem = f"{model.num_attention_heads} attention heads are not divisible by {tensor_parallel}"
        raise BadInput(where, problem, way_out=way_out)
    if not _divides(model, tensor_parallel):
        problem = f"KV heads, MLP width or vocabulary of {model.name} do not divide by {tensor_parallel}"
        raise BadInput(where, problem, way_out=way_out)


@lru_cache(maxsize=256)
def tensor_parallel_sizes(model: ModelSpec, most: int = MOST_RANKS) -> tuple[int, ...]:
    """Return the tensor parallel sizes up to ``most`` that the shapes allow."""
    return tuple(n for n in range(1, most + 1) if model.num_attention_heads % n == 0 and _divides(model, n))


def _divides(model: ModelSpec, n: int) -> bool:
    heads = model.num_kv_heads
    widths = (group for group in model.weights if group.split in {"out", "in"})
    return (
        (heads % n == 0 or n % heads == 0)
        and all(group.kv_heads % n == 0 for group in model.weights if group.place == "every" and group.split == "kv")
        and model.vocabulary_padded % n == 0
        and all(_group_divides(model.quantisation, group, n) for group in widths)
    )


def _group_divides(quantisation: Quantisation, group: WeightGroup, n: int) -> bool:
    width = group.rows if group.split == "out" else group.columns
    if width % n or not group.linear:
        return width % n == 0
    path = group.path.replace("{i}", str(group.layers[0]))
    return blocks_divide(quantisation, width, n, path=path, expert=group.expert)


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


def model_from_config(
    config: Mapping[str, object], *, name: str, checkpoint_bytes: int | None = None, revision: str = ""
) -> ModelSpec:
    """Describe a model by its ``config.json``.

    ``checkpoint_bytes`` is the size of its safetensors files when known. Raises BadInput for an architecture
    that is not modelled, and for fields that are missing, of a wrong type, or absurd.
    """
    from sizing.families import family_of  # noqa: PLC0415 - the families import the types above
    from sizing.families.parts import Identity  # noqa: PLC0415

    if not isinstance(config, Mapping):
        raise BadInput("config.json", f"expected an object, got {type(config).__name__}")
    if checkpoint_bytes is not None and not 0 < checkpoint_bytes < 1 << 50:
        raise BadInput("checkpoint bytes", f"{checkpoint_bytes}", limit="1 to 2**50")
    identity = Identity(name=name, revision=revision, checkpoint_bytes=checkpoint_bytes)
    model = family_of(config)(config, identity)
    if checkpoint_bytes is not None:
        _check_checkpoint(model, checkpoint_bytes)
    return model


def _check_checkpoint(model: ModelSpec, checkpoint_bytes: int) -> None:
    """Refuse a checkpoint that the configuration does not describe, for example one quantised in another file."""
    described = model.weight_bytes()
    if not 1 - CHECKPOINT_TOLERANCE < checkpoint_bytes / described < 1 + CHECKPOINT_TOLERANCE:
        gib = 1 << 30
        raise BadInput(
            "checkpoint",
            f"{checkpoint_bytes / gib:.2f} GiB of weights, but config.json describes {described / gib:.2f} GiB",
            limit=f"within {CHECKPOINT_TOLERANCE:.0%}",
            way_out="complete the download, or state torch_dtype and quantization_config as the checkpoint is stored",
        )
