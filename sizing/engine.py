"""Settings of one vLLM engine: what the user fixed, else the default of that version on that GPU.

Rules by version stand in ``catalogue/engine_defaults.json``. A version newer than the newest known is treated
like that one (and said so); one older than 0.6 is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from sizing.catalogue import Gpu, load_catalogue
from sizing.draft import VLLM_METHODS, check_draft
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.model import ModelSpec, check_parallel, pipeline_stages
from sizing.plan import EngineSettings
from sizing.text_only import check_limit, limits

T = TypeVar("T")
V0_SEQUENCES = 256
"""Default of max_num_seqs in V0, whatever the card."""
HALF_PRECISION_ONLY = 8.0
"""Below this compute capability there is no bfloat16: vLLM must run in float16."""


@dataclass(frozen=True, kw_only=True)
class VersionRules:
    """How one vLLM version accounts memory."""

    since: str
    engine: str
    gpu_memory_utilization: float
    cuda_graphs: str
    """``inside``: an estimate is taken from the KV cache; ``outside``: they live beyond the utilisation budget."""
    sampler: str
    """Which sampler the profile run measures: ``pytorch`` (sorts) or ``fused``."""
    windows: str
    """``groups``: sliding windows and chunks keep only what they need; ``full``: every token of every layer."""
    in_flight_batches: int
    """Batches whose tokens a window must still hold: 2 since scheduling runs ahead of the results."""
    state_blocks_with_prefix_caching: int
    """Blocks of recurrent state of one request when its prefixes are cached."""
    state_checkpoints: bool
    """Whether a state at a block boundary is kept from inside a prefill, in a block of its own."""
    aligned_blocks: bool
    """Whether packed blocks are padded to what the kernels of an indexer need."""
    state_prefix_caching: bool
    """Whether models with recurrent layers cache prefixes by default."""
    kv_tokens: str
    """How "GPU KV cache size" is printed: ``blocks`` x 16 or ``concurrency`` x max_model_len."""


@lru_cache(maxsize=256)
def version_tuple(version: str) -> tuple[int, int, int]:
    """Return (major, minor, patch) of a vLLM version such as ``0.26.1rc1.dev156+g0eec``; BadInput otherwise."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", version.strip())
    if found is None or len(version) > 64:
        raise BadInput("vllm-version", f"{version[:64]!r} is not a version", way_out="for example 0.32.0")
    return int(found[1]), int(found[2]), int(found[3] or 0)


@lru_cache(maxsize=256)
def version_rules(version: str) -> VersionRules:
    """Return the accounting rules of ``version``; BadInput below the oldest known."""
    defaults = load_catalogue().engine_defaults
    wanted = version_tuple(version)
    if wanted < version_tuple(defaults["oldest_version"]):
        raise BadInput("vllm-version", f"{version} is not modelled", limit=f"{defaults['oldest_version']} or newer")
    known = [row for row in defaults["versions"] if version_tuple(row["since"]) <= wanted]
    return VersionRules(**known[-1])


def default_version() -> str:
    """Return the vLLM version that plans use when none is stated."""
    return str(load_catalogue().engine_defaults["default_version"])


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
    )
    _check_extras(model, settings)
    check_draft(model, draft, settings.speculative_method, settings.num_speculative_tokens, tp)
    return settings, pick.sources


def _extras(model: ModelSpec, overrides: EngineOverrides, rules: VersionRules, pick: _Pick) -> dict[str, Any]:
    """Return the settings that most engines leave alone."""
    recurrent = any(group.kind == "state" for group in model.kv_groups)
    prefix_caching = rules.state_prefix_caching if recurrent else True
    defaults: dict[str, Any] = {
        "block_size": int(load_catalogue().engine_defaults["block_size"]),
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
    rows: list[Mapping[str, Any]] = load_catalogue().engine_defaults["batch_defaults"]
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


def engine_args(model: ModelSpec, engine: EngineSettings) -> tuple[str, ...]:
    """Return the flags of ``vllm serve`` for these settings, nothing left to its defaults."""
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
    return (*args, *_extra_args(engine))


def _extra_args(engine: EngineSettings) -> list[str]:
    """Return the flags of what most engines leave alone, only where it is used."""
    args = []
    if engine.block_size != int(load_catalogue().engine_defaults["block_size"]):
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
    if engine.limit_mm_per_prompt is not None:
        args += ["--limit-mm-per-prompt", json.dumps(limits(engine.limit_mm_per_prompt), sort_keys=True)]
    return args
