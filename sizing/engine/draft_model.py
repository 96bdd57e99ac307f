"""A draft model with its target, as vLLM loads the two for speculative decoding.

The draft runs with the tensor parallelism of its target, on the last stage of a pipeline, in the target's type and
with the target's type of cache. An EAGLE head takes the target's embedding where the widths are the same and no
pipeline stands between them; EAGLE without an output head takes the target's too. A head whose checkpoint repeats the
target's output head, byte for byte, shares it as well, which no configuration shows: EAGLE-3 is counted with its own.
Source: vLLM 0.32.0 ``config/speculative.py``, ``v1/spec_decode/llm_base_proposer.py``, ``draft_model.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from sizing.errors import BadInput
from sizing.models.families.eagle import eagle_head
from sizing.models.kv_groups import KvGroup
from sizing.models.parallelism import check_parallel
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import WeightGroup
from sizing.plan import EngineSettings

VLLM_METHODS: Mapping[str, str] = {"eagle": "eagle", "eagle3": "eagle3", "medusa": "medusa", "draft": "draft_model"}
"""Our name of a method that needs a draft model -> vLLM's."""
HEADS = frozenset({"eagle", "eagle3", "medusa"})
"""Families that only draft for another model."""
PLAIN_HEADS = frozenset({"LlamaForCausalLM"})
"""Architectures that an EAGLE head may state: vLLM prefixes them by the method."""
METHOD, DRAFT = "speculative-method", "draft-model"


def check_draft(model: ModelSpec, draft: ModelSpec | None, method: str, tokens: int, tensor_parallel: int) -> None:
    """Raise BadInput where method, draft and target do not belong together."""
    if model.family in HEADS:
        problem = f"{model.name} is a head for {method_of(model)} and serves nothing alone"
        raise BadInput("model", problem, way_out=f"name the model that it drafts for, and this one with --{DRAFT}")
    if draft is None:
        if method in VLLM_METHODS:
            raise BadInput(METHOD, f"{method} without a draft model", way_out=f"name it with --{DRAFT}")
        return
    if method not in VLLM_METHODS:
        problem = f"{draft.name} with method {method or 'none'!r}"
        raise BadInput(DRAFT, problem, way_out=f"state --{METHOD} {method_of(draft)}")
    _check_kind(draft, method)
    _check_shapes(model, draft, method, tokens)
    if method != "medusa":  # no attention, and a vocabulary that is padded
        check_parallel(draft, tensor_parallel)


def method_of(draft: ModelSpec) -> str:
    """Return the method that a draft is for."""
    return draft.family if draft.family in HEADS else "draft"


def _check_kind(draft: ModelSpec, method: str) -> None:
    plain = method == "eagle" and draft.architecture in PLAIN_HEADS
    if method_of(draft) != method and not plain:
        problem = f"{draft.name} ({draft.architecture}) is no draft for {method}"
        raise BadInput(DRAFT, problem, way_out=f"state --{METHOD} {method_of(draft)}, or a draft made for {method}")
    if not draft.generates:
        raise BadInput(DRAFT, f"{draft.name} generates no tokens")


def _check_shapes(model: ModelSpec, draft: ModelSpec, method: str, tokens: int) -> None:
    where = DRAFT
    if method == "draft" and draft.vocab_size != model.vocab_size:
        problem = f"{draft.name} has a vocabulary of {draft.vocab_size}, {model.name} of {model.vocab_size}"
        raise BadInput(where, problem, way_out="use a draft of the same tokenizer")
    if method == "medusa" and tokens > draft.num_attention_heads:
        limit = f"{draft.num_attention_heads}, heads of {draft.name}"
        raise BadInput("num-speculative-tokens", f"{tokens}", limit=limit)
    read = next((group.columns for group in as_head(draft, method).weights if group.name == "fc"), 0)
    fits = draft.hidden_size == model.hidden_size if method in {"eagle", "medusa"} else not read % model.hidden_size
    if method != "draft" and not fits:
        problem = f"{draft.name} reads hidden states of another width than the {model.hidden_size} of {model.name}"
        raise BadInput(where, problem, way_out="use a draft made for this model")


def as_head(draft: ModelSpec, method: str) -> ModelSpec:
    """Return what the method makes of the draft: a decoder under EAGLE is the head that its file describes."""
    return eagle_head(draft) if method == "eagle" and draft.family not in HEADS else draft


@lru_cache(maxsize=256)
def draft_as_loaded(draft: ModelSpec, target: ModelSpec, engine: EngineSettings) -> ModelSpec:
    """Return the draft as loaded with ``target``: without what it shares, in the target's type."""
    method = engine.speculative_method
    head = as_head(draft, method)
    positions = head.max_position_embeddings
    if method in {"eagle", "eagle3"}:
        positions = max(positions, engine.max_model_len)
    weights = tuple(
        _medusa(group, target, draft, engine.num_speculative_tokens) if method == "medusa" else group
        for group in head.weights
        if not (group.name == "embed_tokens" and _shares_embedding(head, target, engine))
    )
    return replace(head, dtype=target.dtype, weights=weights, max_position_embeddings=positions)


def _shares_embedding(head: ModelSpec, target: ModelSpec, engine: EngineSettings) -> bool:
    shares = engine.speculative_method in {"eagle", "eagle3"} and engine.pipeline_parallel == 1
    return shares and head.hidden_size == target.hidden_size


def _medusa(group: WeightGroup, target: ModelSpec, draft: ModelSpec, tokens: int) -> WeightGroup:
    """Return as many heads as tokens are drafted, over the target's vocabulary."""
    if group.split == "vocabulary" and draft.vocab_size != target.vocab_size:
        group = replace(group, rows=target.vocab_size)
    return group if group.name == "lm_head" else replace(group, copies=tokens)


@lru_cache(maxsize=256)
def with_caches(target: ModelSpec, draft: ModelSpec) -> ModelSpec:
    """Return the target with the cached layers of the draft behind its own, where one pool serves both."""
    first = target.num_layers
    added: tuple[KvGroup, ...] = tuple(
        replace(group, layers=tuple(first + layer for layer in group.layers)) for group in draft.kv_groups
    )
    return replace(target, kv_groups=(*target.kv_groups, *added))


def draft_bytes(draft: ModelSpec, tensor_parallel: int) -> int:
    """Return what one rank of the last stage allocates for the draft: weights and rotary caches."""
    return draft.weight_bytes(tensor_parallel=tensor_parallel, derived=True) + draft.rotary_bytes
