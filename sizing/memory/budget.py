"""What the engine may use of the card, what is left for the KV cache, its spread, and the verdict.

    requested = total x gpu_memory_utilization
    kv        = requested - weights - activation - non_torch - graphs (where the version reserves them inside)
    blocks    = floor(kv / bytes per block), of the rank with the fewest
    p10, p90  = kv -+ scale x sqrt(sum of squares of the residual of each term)

Sizes in GiB of one rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizing.engine.versions import VersionRules
from sizing.memory.case import Case, memory_constants
from sizing.memory.kv_cache import CacheLayout
from sizing.memory.terms import Terms, terms_of
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings, Interval
from sizing.units import GIB


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """What is left for the cache of the tightest rank, and how many blocks that is."""

    terms: Terms
    layout: CacheLayout
    total: float
    requested: float
    kv: float
    bytes_per_block: int

    @property
    def blocks(self) -> int:
        """Whole blocks in the cache, with the one that vLLM reserves."""
        return math.floor(max(self.kv, 0.0) * GIB / self.bytes_per_block) if self.bytes_per_block else 0

    @property
    def blocks_per_request(self) -> int:
        """Blocks that one request of max_model_len takes."""
        return self.layout.blocks_per_request

    @property
    def starts(self) -> bool:
        """True where one request of max_model_len fits, or nothing needs to."""
        return self.kv > 0 and (not self.layout.groups or self.blocks >= self.blocks_per_request)

    def concurrency(self, engine: EngineSettings) -> float:
        """Requests of max_model_len that fit; without a cache the scheduler's limit counts."""
        return self.blocks / self.blocks_per_request if self.layout.groups else float(engine.max_num_seqs)


def memory_budget(case: Case) -> MemoryBudget:
    """Return the budget of the rank with the fewest blocks: vLLM takes the smallest number of all ranks."""
    budgets = [_stage_budget(case, stage) for stage in case.stages]
    return min(budgets, key=lambda budget: (budget.blocks, budget.kv))


def _stage_budget(case: Case, stage: Stage) -> MemoryBudget:
    terms = terms_of(case, stage)
    requested = case.total * case.engine.gpu_memory_utilization
    inside = terms.graphs if case.rules.cuda_graphs == "inside" else 0.0
    return MemoryBudget(
        terms=terms,
        layout=case.layout,
        total=case.total,
        requested=requested,
        kv=requested - terms.weights - terms.activation - terms.non_torch - inside,
        bytes_per_block=case.layout.bytes_per_block(stage),
    )


def kv_interval(case: Case, terms: Terms, kv: float) -> Interval:
    """Return p10 to p90 of the cache: residuals of the terms are independent, so they are added in quadrature.

    Older versions sort in PyTorch unless FlashInfer is installed, which the settings do not show: p90 then allows for
    FlashInfer's smaller sampler.
    """
    constants = memory_constants()
    spread, sampler = constants["spread"], constants["sampler_bytes_per_sequence_and_vocabulary"]
    inside = case.rules.cuda_graphs == "inside"
    parts = [
        0.0 if case.weights_gib is not None else float(spread["weights_relative"]) * terms.weights,
        float(spread["activation_relative"]) * terms.activation,
        float(spread["non_torch_gib"]) + float(spread["non_torch_relative"]) * terms.non_torch,
        float(spread["cuda_graph_relative"]) * terms.graphs if inside else 0.0,
    ]
    half = float(spread["scale"]) * math.sqrt(sum(part * part for part in parts))
    smaller = terms.activation
    if case.rules.sampler == "pytorch":
        fewer = terms.sampler * float(sampler["flashinfer"]) / float(sampler["pytorch"])
        smaller = terms.workspace + max(terms.forward, fewer, terms.encoder)
    return Interval(p10=kv - half, p50=kv, p90=kv + half + terms.activation - smaller)


def verdict(budget: MemoryBudget, rules: VersionRules) -> tuple[bool, str]:
    """Return whether it starts, and the limit that binds (or would bind first)."""
    terms = budget.terms
    context = float(memory_constants()["context_gib"])
    if terms.weights > budget.requested:
        return False, "weights"
    if budget.requested > budget.total - context:
        return False, "gpu_memory_utilization"
    if rules.cuda_graphs == "outside" and budget.requested + terms.graphs + context > budget.total:
        return False, "cuda_graphs"
    if budget.kv <= 0:
        return False, "peak_activation"
    if not budget.starts:
        return False, "kv_cache"
    return True, _largest(terms)


def _largest(terms: Terms) -> str:
    sizes = {"weights": terms.weights, "peak_activation": terms.activation, "non_torch": terms.non_torch}
    return max(sorted(sizes), key=lambda key: sizes[key])
