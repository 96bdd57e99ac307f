"""Each term of memory as a figure: its rule, its inputs and the source of its constants."""

from __future__ import annotations

from collections.abc import Mapping

from sizing.catalogue.files import file_source
from sizing.memory.budget import MemoryBudget
from sizing.memory.case import Case
from sizing.memory.terms import captured_sizes, draft_gib
from sizing.plan import Figure


def figures(case: Case, budget: MemoryBudget, *, given: bool) -> tuple[Figure, ...]:
    """Return every term with its rule and inputs; ``given`` where the caller stated the weights."""
    model, engine, rules = case.model, case.engine, case.rules
    terms, constants = budget.terms, file_source("constants")
    version = f"vLLM {engine.vllm_version}"
    tp, pp = engine.tensor_parallel, engine.pipeline_parallel
    weights_rule = (
        "as stated" if given else "sum over matrices of rows x columns x bytes on one rank, plus rotary cache"
    )
    return (
        _figure("requested_gib", budget.requested, "total x gpu_memory_utilization",
                {"total_gib": budget.total, "gpu_memory_utilization": engine.gpu_memory_utilization}, version),
        _figure("weights_gib", terms.weights, weights_rule,
                {"parameters": model.parameters, "quantisation": model.quantisation.method, "tensor_parallel": tp,
                 "pipeline_parallel": pp}, "config.json of " + model.name),
        _figure("peak_activation_gib", terms.activation,
                "larger of forward pass (max_num_batched_tokens) and sampler (max_num_seqs x vocabulary)",
                {"forward_gib": terms.forward, "sampler_gib": terms.sampler, "max_num_seqs": engine.max_num_seqs,
                 "max_num_batched_tokens": engine.max_num_batched_tokens, "vocab_size": model.vocab_size}, constants),
        _figure("non_torch_gib", terms.non_torch, "measured by number of ranks", {"ranks": tp * pp}, constants),
        _figure("cuda_graph_gib", terms.graphs, f"base + per captured batch size; {rules.cuda_graphs} the budget",
                {"captured_sizes": captured_sizes(engine.max_num_seqs), "enforce_eager": str(engine.enforce_eager)},
                constants),
        _figure("kv_cache_gib", budget.kv, "requested - weights - activation - non-torch - graphs inside the budget",
                {"bytes_per_block": budget.bytes_per_block, "blocks": budget.blocks,
                 "groups": len(budget.layout.groups)}, version),
        _figure("max_concurrency", budget.concurrency(engine), "blocks / blocks of one request of max_model_len",
                {"blocks": budget.blocks, "blocks_per_request": budget.blocks_per_request}, version),
        *_draft_figure(case),
    )  # fmt: skip


def _draft_figure(case: Case) -> tuple[Figure, ...]:
    if case.draft is None:
        return ()
    value = draft_gib(case, case.stages[-1])
    inputs: dict[str, float | str] = {"method": case.engine.speculative_method, "parameters": case.draft.parameters}
    rule = "weights on one rank of the last stage, without what the model shares; within weights_gib"
    return (_figure("draft_gib", value, rule, inputs, "config.json of " + case.draft.name),)


def _figure(name: str, value: float, rule: str, inputs: Mapping[str, float | str], source: str) -> Figure:
    unit = "GiB" if name.endswith("_gib") else "requests"
    return Figure(name=name, value=value, unit=unit, rule=rule, inputs=inputs, source=source)
