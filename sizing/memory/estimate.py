"""Memory of one engine per GPU, term by term, as vLLM accounts it.

    requested = total x utilisation          total is what CUDA reports for the card
    KV cache  = requested - weights - peak activation - non-torch - CUDA graphs (where they are inside)

Weights come from the shapes; the peak activation is the larger of the forward pass over
``max_num_batched_tokens`` and the sampler over ``max_num_seqs`` x vocabulary; constants are calibrated
(``catalogue/constants.json``, from start-up logs) and give the spread. A draft model for speculative decoding
(``sizing.engine.draft_model``) takes weights on the last stage, and its layers join the cache.
"""

from __future__ import annotations

from dataclasses import replace

from sizing.catalogue import Gpu
from sizing.errors import BadInput
from sizing.memory.budget import kv_interval, memory_budget, verdict
from sizing.memory.case import case_of
from sizing.memory.explanation import figures
from sizing.memory.hints import hints_of
from sizing.memory.kv_cache import capacity_tokens
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings, MemoryEstimate


def estimate_memory(
    model: ModelSpec,
    gpu: Gpu,
    engine: EngineSettings,
    *,
    gpu_total_gib: float | None = None,
    weights_gib: float | None = None,
    draft: ModelSpec | None = None,
    explained: bool = True,
) -> MemoryEstimate:
    """Return the memory of one engine per GPU.

    ``gpu_total_gib`` replaces the catalogue's CUDA total, ``weights_gib`` the computed weights of one GPU; ``draft``
    is the model that drafts tokens, where ``engine`` names a method that needs one.
    ``fits`` is true when one request of ``max_model_len`` tokens fits in the cache and the card can give what
    is requested. ``explained`` False leaves out hints and figures, which cost more than the estimate: a search reads
    neither. Raises BadInput for overrides that cannot be.
    """
    _check_override("gpu-total-gib", gpu_total_gib)
    _check_override("weights-gib", weights_gib)
    case = case_of(model, gpu, engine, gpu_total_gib=gpu_total_gib, weights_gib=weights_gib, draft=draft)
    budget = memory_budget(case)
    fits, binding = verdict(budget, case.rules)
    terms, given = budget.terms, weights_gib is not None
    interval = kv_interval(case, terms, budget.kv)
    return MemoryEstimate(
        fits=fits,
        total_gib=case.total,
        requested_gib=budget.requested,
        weights_gib=terms.weights,
        peak_activation_gib=terms.activation,
        non_torch_gib=terms.non_torch,
        cuda_graph_gib=terms.graphs,
        kv_cache_gib=budget.kv,
        kv_cache_gib_interval=interval,
        fits_at_p90=fits and replace(budget, kv=interval.p10).starts,
        kv_tokens=capacity_tokens(budget.layout, engine, case.rules, budget.blocks),
        max_concurrency=max(0.0, budget.concurrency(engine)),
        kv_bytes_per_token=None if case.model.is_hybrid else case.model.kv_bytes_per_token(engine.kv_cache_dtype),
        binding=binding,
        hints=hints_of(case, budget, fits=fits, binding=binding) if explained else (),
        figures=figures(case, budget, given=given) if explained else (),
    )


def _check_override(name: str, value: float | None) -> None:
    if value is not None and not 0 < value <= 100_000:
        raise BadInput(name, f"{value}", limit="above 0, up to 100000 GiB")
