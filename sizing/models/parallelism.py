"""Tensor and pipeline parallel sizes that a model allows, as vLLM divides its heads, experts and layers."""

from __future__ import annotations

from functools import lru_cache

from sizing.errors import BadInput
from sizing.models.quantisation.config import Quantisation, blocks_divide
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import Stage, WeightGroup

MOST_RANKS = 64
"""Tensor parallel sizes that a refusal suggests."""


def pipeline_stages(layers: int, pipeline_parallel: int) -> tuple[Stage, ...]:
    """Split ``layers`` as vLLM does: evenly; the remainder goes one each to stages from the last but one backwards."""
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
