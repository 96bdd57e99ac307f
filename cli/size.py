"""``tonnage size``: memory of one engine on one GPU type."""

from __future__ import annotations

import typer

from cli import options as o


def size(
    *,
    model: o.Model,
    gpu: o.GpuRequired,
    tensor_parallel: o.TensorParallel = None,
    pipeline_parallel: o.PipelineParallel = None,
    max_model_len: o.MaxModelLen = None,
    max_num_seqs: o.MaxNumSeqs = None,
    max_num_batched_tokens: o.MaxNumBatchedTokens = None,
    gpu_memory_utilization: o.GpuMemoryUtilization = None,
    kv_cache_dtype: o.KvCacheDtypeOption = None,
    vllm_version: o.VllmVersion = None,
    enforce_eager: o.EnforceEager = False,
    block_size: o.BlockSize = None,
    enable_prefix_caching: o.PrefixCaching = None,
    enable_expert_parallel: o.ExpertParallel = False,
    data_parallel: o.DataParallel = None,
    decode_context_parallel: o.DecodeContextParallel = None,
    max_loras: o.MaxLoras = None,
    max_lora_rank: o.MaxLoraRank = None,
    speculative_method: o.SpeculativeMethodOption = None,
    num_speculative_tokens: o.NumSpeculativeTokens = None,
    draft_model: o.DraftModel = None,
    limit_mm_per_prompt: o.LimitMmPerPrompt = None,
    gpu_total_gib: o.GpuTotalGib = None,
    weights_gib: o.WeightsGib = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """Memory of one engine on one GPU type, by term; exit 3 when it does not fit."""
    overrides = o.engine_of(locals())
    from cli.output import show
    from cli.render import size as render
    from cli.sources import find_draft, find_model
    from sizing.catalogue import load_catalogue
    from sizing.memory.document import size_document
    from sizing.memory.size import size_model

    catalogue = load_catalogue()
    sizing = size_model(
        find_model(model, catalogue),
        catalogue.gpu(gpu),
        overrides,
        gpu_total_gib=o.positive("--gpu-total-gib", gpu_total_gib),
        weights_gib=o.positive("--weights-gib", weights_gib),
        draft=None if draft_model is None else find_draft(draft_model, speculative_method, catalogue),
    )
    show(size_document(sizing), output_format, text=render.text, markdown=render.markdown)
    if not sizing.memory.fits:
        raise typer.Exit(3)
