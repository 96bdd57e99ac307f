"""What would make an engine fit: the changes to try, each with what it frees."""

from __future__ import annotations

import math
from dataclasses import replace

from sizing.engine.multimodal import as_served, has_encoder
from sizing.engine.versions import VersionRules, version_tuple
from sizing.memory.budget import MemoryBudget, memory_budget, verdict
from sizing.memory.case import Case, memory_constants
from sizing.memory.kv_cache import capacity_tokens
from sizing.models.parallelism import tensor_parallel_sizes
from sizing.units import GIB

OLDEST_FP8_CACHE = 8.0
"""Compute capability from which kernels read a cache in fp8."""


def longest_that_fits(case: Case, budget: MemoryBudget) -> int:
    """Return the longest request that the blocks hold, in whole blocks, found by halving."""
    step, most = case.engine.block_size, case.model.max_position_embeddings
    if not budget.layout.groups:
        return most
    low, high = 0, -(-most // step)
    while low < high:
        middle = (low + high + 1) // 2
        needed = case.with_engine(max_model_len=middle * step).layout.blocks_per_request
        low, high = (middle, high) if needed <= budget.blocks else (low, middle - 1)
    return min(low * step, most)


def hints_of(case: Case, budget: MemoryBudget, *, fits: bool, binding: str) -> tuple[str, ...]:
    """Say what each setting would change, with figures; what helps most first."""
    hints: list[str] = []
    if binding == "kv_cache" and (longest := longest_that_fits(case, budget)):
        hints.append(f"max-model-len {case.engine.max_model_len} -> {longest} is the largest that fits")
    if binding in {"gpu_memory_utilization", "cuda_graphs"}:
        hints.append(_utilisation_hint(budget, case.rules))
    hints += _text_alone(case, budget)
    hints += _smaller_batch(case, budget)
    hints += _fp8_cache(case, budget)
    if not fits:
        hints += _more_gpus(case)
    return tuple(hints)


def _text_alone(case: Case, budget: MemoryBudget) -> list[str]:
    """Say what a model frees without its encoder, where that is what the peak activation is for."""
    terms, version = budget.terms, version_tuple(case.engine.vllm_version)
    if not has_encoder(case.model) or terms.encoder <= max(terms.forward, terms.sampler):
        return []
    text = as_served(case.model, 0, version)
    freed = memory_budget(replace(case, model=text, engine=replace(case.engine, limit_mm_per_prompt=0))).kv - budget.kv
    return [f"limit-mm-per-prompt 0 (text alone) frees {freed:.1f} GiB for the KV cache"] if freed >= 0.05 else []


def _fp8_cache(case: Case, budget: MemoryBudget) -> list[str]:
    """Say what an fp8 cache would hold; hybrids with large states gain little, and the figure shows it."""
    already = case.model.kv_element_bytes(case.engine.kv_cache_dtype) == 1
    if not budget.blocks or already or case.gpu.compute_capability < OLDEST_FP8_CACHE:
        return []
    smaller = case.with_engine(kv_cache_dtype="fp8")
    widest = max(smaller.layout.bytes_per_block(stage) for stage in case.stages)
    blocks = math.floor(max(budget.kv, 0.0) * GIB / widest)
    now, then = budget.blocks / budget.blocks_per_request, blocks / smaller.layout.blocks_per_request
    if then <= now:
        return []
    tokens = capacity_tokens(smaller.layout, smaller.engine, case.rules, blocks)
    return [f"kv-cache-dtype fp8 holds {then / now:.1f}x the requests: about {tokens} tokens"]


def _utilisation_hint(budget: MemoryBudget, rules: VersionRules) -> str:
    outside = float(memory_constants()["context_gib"]) + (
        budget.terms.graphs if rules.cuda_graphs == "outside" else 0.0
    )
    most = math.floor((budget.total - outside) / budget.total * 100) / 100
    return f"gpu-memory-utilization {most:.2f} leaves the {outside:.1f} GiB that live outside the budget"


def _smaller_batch(case: Case, budget: MemoryBudget) -> list[str]:
    hints = []
    seqs, tokens = case.engine.max_num_seqs, case.engine.max_num_batched_tokens
    fewer: dict[str, dict[str, int]] = {
        f"max-num-seqs {seqs} -> {seqs // 4}": {"max_num_seqs": max(seqs // 4, 1)},
        f"max-num-batched-tokens {tokens} -> {tokens // 4}": {"max_num_batched_tokens": max(tokens // 4, 1)},
    }
    for change, values in fewer.items():
        smaller = case.with_engine(**values)
        batch = smaller.engine
        if batch.max_num_seqs < 16 or batch.max_num_batched_tokens < max(batch.max_num_seqs, 256):
            continue
        freed = memory_budget(smaller).kv - budget.kv
        if freed >= 0.05:
            hints.append(f"{change} frees {freed:.1f} GiB for the KV cache")
    return hints


def _more_gpus(case: Case) -> list[str]:
    for size in (2, 4, 8, 16):
        if size <= case.engine.tensor_parallel or size not in tensor_parallel_sizes(case.model):
            continue
        if case.draft is not None and case.draft.kv_groups and size not in tensor_parallel_sizes(case.draft):
            continue
        wider = case.with_engine(tensor_parallel=size)
        budget = memory_budget(wider)
        if verdict(budget, case.rules)[0]:
            return [f"tensor-parallel {size} fits, with {budget.kv:.1f} GiB of KV cache per GPU"]
    return []
