"""Settings of one vLLM engine: what the user fixed, else the default of that version on that GPU.

Rules by version stand in ``catalogue/engine_defaults.json``. A version newer than the newest known is treated
like that one (and said so); one older than 0.6 is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from sizing.catalogue import Gpu
from sizing.catalogue.files import engine_rules
from sizing.engine.draft_model import check_draft
from sizing.engine.multimodal import check_limit, processor_cache_gib
from sizing.engine.versions import VersionRules, default_version, version_rules, version_tuple
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.models.parallelism import check_parallel, pipeline_stages
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings

T = TypeVar("T")


V0_SEQUENCES = 256
"""Default of max_num_seqs in V0, whatever the card."""


HALF_PRECISION_ONLY = 8.0
"""Below this compute capability there is no bfloat16: vLLM must run in float16."""


def resolve_engine(
    model: ModelSpec,
    gpu: Gpu,
    overrides: EngineOverrides,
    *,
    tensor_parallel: int | None = None,
    pipeline_parallel: int | None = None,
    gpu_total_gib: float | None = None,
    draft: ModelSpec | None = None,
) -> EngineSettings:
    """Return the settings with every default filled in; see ``explain_engine`` for where each comes from."""
    return explain_engine(
        model, gpu, overrides, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel,
        gpu_total_gib=gpu_total_gib, draft=draft,
    )[0]  # fmt: skip


def explain_engine(
    model: ModelSpec,
    gpu: Gpu,
    overrides: EngineOverrides,
    *,
    tensor_parallel: int | None = None,
    pipeline_parallel: int | None = None,
    gpu_total_gib: float | None = None,
    draft: ModelSpec | None = None,
) -> tuple[EngineSettings, Mapping[str, str]]:
    """Return the settings and, for each, its source; ``draft`` is a model that drafts tokens for ``model``.

    Raises BadInput for a parallel size that the shapes do not allow, a context beyond the model's, an unknown
    version, or settings that contradict each other.
    """
    pick = _Pick()
    version = pick("vllm_version", overrides.vllm_version, default_version(), "newest version of the catalogue")
    rules = version_rules(version)
    tp = pick("tensor_parallel", tensor_parallel or overrides.tensor_parallel, 1, "default")
    pp = pick("pipeline_parallel", pipeline_parallel or overrides.pipeline_parallel, 1, "default")
    check_parallel(model, tp)
    pipeline_stages(model.num_layers, pp)
    length = pick("max_model_len", overrides.max_model_len, model.max_position_embeddings, "context of the model")
    _check_length(model, length)
    total, least = gpu_total_gib or gpu.total_gib, 0 if model.chunks_prompts else length
    seqs, tokens = _batch(gpu, total, overrides, pick, version=version, length=length, least=least)
    kv = pick("kv_cache_dtype", overrides.kv_cache_dtype, "auto", "default")
    _check_fp8(gpu, kv)
    settings = EngineSettings(
        vllm_version=version,
        tensor_parallel=tp,
        pipeline_parallel=pp,
        max_model_len=length,
        max_num_seqs=seqs,
        max_num_batched_tokens=tokens,
        gpu_memory_utilization=pick(
            "gpu_memory_utilization", overrides.gpu_memory_utilization, rules.gpu_memory_utilization, f"vLLM {version}"
        ),
        kv_cache_dtype=kv,
        enforce_eager=pick("enforce_eager", overrides.enforce_eager, False, "default"),
        dtype=pick("dtype", None, *_dtype(model, gpu)),
        **_extras(model, overrides, rules, pick),
        **_draft(draft, pick),
        **_limit(overrides, pick),
        mm_processor_cache_gib=pick(
            "mm_processor_cache_gib",
            None,
            processor_cache_gib(model, overrides.limit_mm_per_prompt, version_tuple(version)),
            "default",
        ),
    )
    _check_extras(model, settings)
    check_draft(model, draft, settings.speculative_method, settings.num_speculative_tokens, tp)
    return settings, pick.sources


def _extras(model: ModelSpec, overrides: EngineOverrides, rules: VersionRules, pick: _Pick) -> dict[str, Any]:
    """Return the settings that most engines leave alone."""
    recurrent = any(group.kind == "state" for group in model.kv_groups)
    prefix_caching = rules.state_prefix_caching if recurrent else True
    defaults: dict[str, Any] = {
        "block_size": int(engine_rules("block_size")),
        "enable_prefix_caching": prefix_caching,
        "enable_expert_parallel": False,
        "data_parallel": 1,
        "decode_context_parallel": 1,
        "max_loras": 0,
        "max_lora_rank": 16,
        "speculative_method": "",
        "num_speculative_tokens": 0,
        "speculative_acceptance": None,
    }
    why = f"vLLM {rules.since} and later"
    return {key: pick(key, getattr(overrides, key), default, why) for key, default in defaults.items()}


def _draft(draft: ModelSpec | None, pick: _Pick) -> dict[str, Any]:
    return {} if draft is None else {"draft_model": pick("draft_model", draft.name, "", "")}


def _limit(overrides: EngineOverrides, pick: _Pick) -> dict[str, Any]:
    limit = overrides.limit_mm_per_prompt
    return {} if limit is None else {"limit_mm_per_prompt": pick("limit_mm_per_prompt", limit, limit, "")}


def _check_extras(model: ModelSpec, engine: EngineSettings) -> None:
    """Refuse settings that contradict each other or the model."""
    if bool(engine.speculative_method) != bool(engine.num_speculative_tokens):
        problem = f"{engine.num_speculative_tokens} tokens with method {engine.speculative_method or 'none'!r}"
        raise BadInput("num-speculative-tokens", problem, way_out="state both, for example mtp with 1")
    if engine.speculative_acceptance is not None and not engine.num_speculative_tokens:
        problem = f"{engine.speculative_acceptance:g}, but no token is drafted"
        raise BadInput("speculative-acceptance", problem, way_out="state the method and its tokens too")
    if engine.speculative_method == "mtp" and not model.draft_layers:
        raise BadInput("speculative-method", f"mtp, but {model.name} has no layers for multi-token prediction")
    if engine.enable_expert_parallel and not model.experts:
        raise BadInput("enable-expert-parallel", f"{model.name} has no experts")
    if engine.tensor_parallel % engine.decode_context_parallel:
        problem = f"{engine.decode_context_parallel} does not divide tensor-parallel {engine.tensor_parallel}"
        raise BadInput("decode-context-parallel", problem)
    check_limit(model, engine.limit_mm_per_prompt, version_tuple(engine.vllm_version))
    _check_block(engine.block_size)


def _check_block(block_size: int) -> None:
    if block_size & (block_size - 1):
        raise BadInput("block-size", f"{block_size}", limit="a power of two", way_out="leave it to the engine")


class _Pick:
    """Chooses between what is stated and the default, and remembers the source of each."""

    def __init__(self) -> None:
        self.sources: dict[str, str] = {}

    def __call__(self, key: str, stated: T | None, default: T, why: str) -> T:
        self.sources[key] = "stated" if stated is not None else why
        return default if stated is None else stated


def _batch(
    gpu: Gpu, total_gib: float, overrides: EngineOverrides, pick: _Pick, *, version: str, length: int, least: int
) -> tuple[int, int]:
    """Return max_num_seqs and max_num_batched_tokens; BadInput when they contradict each other.

    ``least`` are the tokens that a batch must hold: a whole request where prompts are not chunked.
    """
    batch, why, rules = _batch_defaults(gpu, total_gib), f"vLLM {version} on {gpu.name}", version_rules(version)
    tokens_default = _tokens_default(rules, batch, length, overrides.max_num_seqs)
    tokens = pick("max_num_batched_tokens", overrides.max_num_batched_tokens, max(tokens_default, least), why)
    most = int(batch["max_num_seqs"]) if rules.engine == "V1" else V0_SEQUENCES
    seqs = pick("max_num_seqs", overrides.max_num_seqs, min(most, tokens), why)
    if tokens < seqs:
        problem = f"{tokens} is below max-num-seqs {seqs}"
        raise BadInput("max-num-batched-tokens", problem, way_out="raise it or lower max-num-seqs")
    if tokens < least:
        problem = f"{tokens} is below max-model-len {least}, and the model takes a prompt in one piece"
        raise BadInput("max-num-batched-tokens", problem, way_out="raise it or lower max-model-len")
    return seqs, tokens


def _dtype(model: ModelSpec, gpu: Gpu) -> tuple[str, str]:
    if gpu.compute_capability < HALF_PRECISION_ONLY:
        return "float16", f"{gpu.name} has no bfloat16"
    return model.dtype, "config.json"


def _tokens_default(rules: VersionRules, batch: Mapping[str, Any], length: int, seqs: int | None) -> int:
    if rules.engine == "V0":  # no chunked prefill below 32K: a whole prompt is one batch
        return max(length, 2048) if length <= 32_768 else 512
    tokens = int(batch["max_num_batched_tokens"])
    return max(tokens, seqs or 0)


def _batch_defaults(gpu: Gpu, total_gib: float) -> Mapping[str, Any]:
    rows: list[Mapping[str, Any]] = engine_rules("batch_defaults")
    for row in rows:
        excepted = bool(row["except_gpu"]) and gpu.name.startswith(row["except_gpu"])
        if total_gib >= row["min_total_gib"] and not excepted:
            return row
    return rows[-1]


def _check_length(model: ModelSpec, length: int) -> None:
    if length > model.max_position_embeddings:
        limit = f"{model.max_position_embeddings}, the context of {model.name}"
        way_out = "a longer one needs rope scaling in config.json"
        raise BadInput("max-model-len", f"{length}", limit=limit, way_out=way_out)


def _check_fp8(gpu: Gpu, kv_cache_dtype: str) -> None:
    if kv_cache_dtype == "fp8" and gpu.compute_capability < HALF_PRECISION_ONLY:
        raise BadInput("kv-cache-dtype", f"fp8 is not available on {gpu.name}", way_out="use auto")
