"""Engine options of ``plan``, ``size``, ``throughput`` and ``measure``, named as vLLM names its settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.option_groups import OptionGroup

if TYPE_CHECKING:
    from sizing.inputs import EngineOverrides


class KvCacheDtype(StrEnum):
    """Element type of the KV cache: that of the checkpoint, or 8 bits."""

    AUTO = "auto"
    FP8 = "fp8"


class SpeculativeMethod(StrEnum):
    """Source of draft tokens: repeated text of the prompt, the model's own layers for it, or a model of its own."""

    NGRAM = "ngram"
    MTP = "mtp"
    EAGLE = "eagle"
    EAGLE3 = "eagle3"
    MEDUSA = "medusa"
    DRAFT = "draft"


@dataclass(frozen=True, kw_only=True)
class EngineOptions(OptionGroup):
    """Settings of one engine that every verb takes."""

    tensor_parallel: Annotated[
        int | None, typer.Option("--tensor-parallel", metavar="N", help="GPUs that share each layer. Default: 1.")
    ] = None
    pipeline_parallel: Annotated[
        int | None, typer.Option("--pipeline-parallel", metavar="N", help="Groups of layers in a row. Default: 1.")
    ] = None
    max_model_len: Annotated[
        int | None,
        typer.Option("--max-model-len", metavar="N", help="Longest request in tokens. Default: the model's."),
    ] = None
    max_num_seqs: Annotated[
        int | None, typer.Option("--max-num-seqs", metavar="N", help="Requests in one step. Default: vLLM's.")
    ] = None
    max_num_batched_tokens: Annotated[
        int | None, typer.Option("--max-num-batched-tokens", metavar="N", help="Tokens in one step. Default: vLLM's.")
    ] = None
    gpu_memory_utilization: Annotated[
        float | None,
        typer.Option("--gpu-memory-utilization", metavar="X", help="Share of the card that vLLM takes, 0 to 1."),
    ] = None
    kv_cache_dtype: Annotated[
        KvCacheDtype | None, typer.Option("--kv-cache-dtype", help="Element type of the KV cache. Default: auto.")
    ] = None
    vllm_version: Annotated[
        str | None,
        typer.Option("--vllm-version", metavar="V", help="Account as this vLLM does. Default: the pinned one."),
    ] = None
    enforce_eager: Annotated[bool, typer.Option("--enforce-eager", help="No CUDA graphs.")] = False

    def overrides(self) -> EngineOverrides:
        """Return the engine settings that are fixed; BadInput names the option that cannot be."""
        from cli.options import validated
        from sizing.inputs import EngineOverrides

        return validated(EngineOverrides, {k: v for k, v in self.given().items() if k in EngineOverrides.model_fields})


@dataclass(frozen=True, kw_only=True)
class CacheOptions(OptionGroup):
    """Blocks of the KV cache, and how experts and attention are divided."""

    block_size: Annotated[
        int | None, typer.Option("--block-size", metavar="N", help="Tokens of a KV block. Default: vLLM's.")
    ] = None
    enable_prefix_caching: Annotated[
        bool | None,
        typer.Option("--enable-prefix-caching/--no-enable-prefix-caching", help="Keep prefixes. Default: vLLM's."),
    ] = None
    enable_expert_parallel: Annotated[
        bool, typer.Option("--enable-expert-parallel", help="Divide experts over the GPUs instead of splitting each.")
    ] = False
    data_parallel: Annotated[
        int | None, typer.Option("--data-parallel", metavar="N", help="Ranks of data-parallel attention. Default: 1.")
    ] = None
    decode_context_parallel: Annotated[
        int | None,
        typer.Option("--decode-context-parallel", metavar="N", help="GPUs that share one request's KV. Default: 1."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class DraftOptions(OptionGroup):
    """LoRA adapters and speculative decoding."""

    max_loras: Annotated[
        int | None, typer.Option("--max-loras", metavar="N", help="LoRA adapters resident at once.")
    ] = None
    max_lora_rank: Annotated[
        int | None, typer.Option("--max-lora-rank", metavar="N", help="Largest rank of an adapter.")
    ] = None
    speculative_method: Annotated[
        SpeculativeMethod | None, typer.Option("--speculative-method", help="Where draft tokens come from.")
    ] = None
    num_speculative_tokens: Annotated[
        int | None, typer.Option("--num-speculative-tokens", metavar="N", help="Draft tokens of one step.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class TimedEngineOptions(DraftOptions, EngineOptions):
    """Settings of an engine whose speed is predicted."""

    speculative_acceptance: Annotated[
        float | None,
        typer.Option(
            "--speculative-acceptance",
            metavar="X",
            help="Share of drafted tokens that vLLM's metrics count as accepted.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SizedEngineOptions(DraftOptions, CacheOptions, EngineOptions):
    """Settings of an engine whose memory is estimated."""

    draft_model: Annotated[
        str | None,
        typer.Option("--draft-model", metavar="MODEL", help="Model or head that drafts tokens: named as MODEL is."),
    ] = None
    limit_mm_per_prompt: Annotated[
        int | None,
        typer.Option(
            "--limit-mm-per-prompt", metavar="N", help="Images, videos or sounds of one prompt, each; 0: text alone."
        ),
    ] = None
