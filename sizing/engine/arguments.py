"""The command line of ``vllm serve`` for resolved settings; nothing is left to the engine's defaults."""

from __future__ import annotations

import json

from sizing.catalogue.files import engine_rules
from sizing.engine.draft_model import VLLM_METHODS
from sizing.engine.multimodal import limits
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings


def engine_args(model: ModelSpec, engine: EngineSettings, longest_output_tokens: int | None = None) -> tuple[str, ...]:
    """Return the flags of ``vllm serve`` for these settings, nothing left to its defaults.

    ``longest_output_tokens`` is the most tokens of one answer; None for all that the context allows.
    """
    cache = model.kv_cache_dtype if engine.kv_cache_dtype == "auto" else engine.kv_cache_dtype
    args = [
        "--dtype", engine.dtype,
        "--tensor-parallel-size", str(engine.tensor_parallel),
        "--pipeline-parallel-size", str(engine.pipeline_parallel),
        "--max-model-len", str(engine.max_model_len),
        "--max-num-seqs", str(engine.max_num_seqs),
        "--max-num-batched-tokens", str(engine.max_num_batched_tokens),
        "--gpu-memory-utilization", f"{engine.gpu_memory_utilization:g}",
        "--kv-cache-dtype", cache,
    ]  # fmt: skip
    if not model.generates:
        args += ["--runner", "pooling"]
    if engine.enforce_eager:
        args.append("--enforce-eager")
    return (*args, *_extra_args(engine), *_answer_limit(longest_output_tokens))


def _answer_limit(longest_output_tokens: int | None) -> tuple[str, ...]:
    """Return the flag by which the engine ends every answer at this many tokens, whatever a caller asks for.

    A ``max_new_tokens`` of the generation config is a limit of the server (vLLM documentation, engine arguments); other
    defaults of the checkpoint stay. Nothing without a limit.
    """
    if longest_output_tokens is None:
        return ()
    return "--override-generation-config", json.dumps({"max_new_tokens": longest_output_tokens})


def _extra_args(engine: EngineSettings) -> list[str]:
    """Return the flags of what most engines leave alone, only where it is used."""
    args = []
    if engine.block_size != int(engine_rules("block_size")):
        args += ["--block-size", str(engine.block_size)]
    if not engine.enable_prefix_caching:
        args.append("--no-enable-prefix-caching")
    if engine.enable_expert_parallel:
        args.append("--enable-expert-parallel")
    if engine.data_parallel > 1:
        args += ["--data-parallel-size", str(engine.data_parallel)]
    if engine.decode_context_parallel > 1:
        args += ["--decode-context-parallel-size", str(engine.decode_context_parallel)]
    if engine.max_loras:
        args += ["--enable-lora", "--max-loras", str(engine.max_loras), "--max-lora-rank", str(engine.max_lora_rank)]
    if engine.num_speculative_tokens:
        method = VLLM_METHODS.get(engine.speculative_method, engine.speculative_method)
        document = {"method": method, "num_speculative_tokens": engine.num_speculative_tokens}
        if engine.draft_model:
            document["model"] = engine.draft_model
        args += ["--speculative-config", json.dumps(document, sort_keys=True)]
    if engine.mm_processor_cache_gib:
        args += ["--mm-processor-cache-gb", f"{engine.mm_processor_cache_gib:g}"]
    if engine.limit_mm_per_prompt is not None:
        args += ["--limit-mm-per-prompt", json.dumps(limits(engine.limit_mm_per_prompt), sort_keys=True)]
    return args
