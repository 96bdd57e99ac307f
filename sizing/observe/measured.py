"""What was measured, wherever it was read: the settings of the engine, its memory by term, its capacity.

From a start-up log or from ``/metrics``. Also which GPU it ran on, where nobody says so: the name that the log prints,
else the total that CUDA reports, if one card of the catalogue alone has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sizing.catalogue import Catalogue, Gpu
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.observe.endpoint_metrics import EndpointMetrics, ServingLoad
from sizing.observe.logs.settings import Setting
from sizing.observe.logs.startup_log import RankMemory, StartupLog
from sizing.observe.logs.wordings import WHILE_SERVING, Failure

SAME_CARD = 0.01
"""Totals of one GPU type differ by less: drivers and ECC (facts of 0.6 to 0.32: 14.56 to 14.74 GiB on a T4)."""
BLOCK = 16
"""Tokens of a block where the log does not say otherwise: every CUDA engine of V0, and V1 with full attention."""
ARGUMENTS = {
    "tensor_parallel_size": "tensor_parallel",
    "pipeline_parallel_size": "pipeline_parallel",
    "data_parallel_size": "data_parallel",
    "decode_context_parallel_size": "decode_context_parallel",
    "max_model_len": "max_model_len",
    "max_num_seqs": "max_num_seqs",
    "max_num_batched_tokens": "max_num_batched_tokens",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "kv_cache_dtype": "kv_cache_dtype",
    "enforce_eager": "enforce_eager",
    "block_size": "block_size",
    "enable_prefix_caching": "enable_prefix_caching",
    "enable_expert_parallel": "enable_expert_parallel",
    "max_loras": "max_loras",
    "max_lora_rank": "max_lora_rank",
    "speculative_method": "speculative_method",
    "num_speculative_tokens": "num_speculative_tokens",
}
"""Arguments of vLLM and the engine settings that they are."""
LORA = ("max_loras", "max_lora_rank")
SPECULATION = ("speculative_method", "num_speculative_tokens")
KNOWN_SPECULATION = ("ngram", "mtp")
TERMS = ("weights_gib", "peak_activation_gib", "non_torch_gib")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One engine as it runs. ``terms`` are GiB per GPU: the largest over the ranks, of the cache the smallest.

    ``cuda_graph_gib`` is what capturing took, ``cuda_graph_estimate_gib`` what was reserved for it.
    """

    source: str
    vllm_version: str | None
    model: str | None
    gpu_name: str | None
    total_gib: float | None
    settings: Mapping[str, Setting]
    terms: Mapping[str, float]
    kv_tokens: int | None
    max_concurrency: float | None
    graphs_in_budget: bool | None
    kv_needed_gib: float | None = None
    longest_model_len: int | None = None
    free_gib: float | None = None
    requested_gib: float | None = None
    started: bool = True
    starts: int = 1
    failures: tuple[Failure, ...] = ()
    ranks: tuple[RankMemory, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    load: ServingLoad | None = None
    notes: tuple[str, ...] = ()


def measured_of_log(log: StartupLog) -> Measured:
    """Return what a log measured; BadInput when the engine ran on no GPU or the log ends before any figure."""
    if log.device is not None and log.device != "GPU":
        raise BadInput("log", f"the engine ran on {log.device}", way_out="estimates are for GPUs")
    names = (*TERMS, "cuda_graph_gib", "cuda_graph_estimate_gib")
    terms = {name: value for name in names if (value := log.most(name)) is not None}
    if (cache := log.least("kv_cache_gib")) is not None:
        terms["kv_cache_gib"] = cache
    total = log.least("total_gib")
    if not terms and not log.failures and _capacity(log) is None and log.max_concurrency is None:
        raise BadInput("log", "holds no memory figure", way_out="keep it at least to `init engine ... took`")
    return Measured(
        source="log",
        vllm_version=log.vllm_version,
        model=log.model,
        gpu_name=log.gpu_name,
        total_gib=total if total is not None else _total_of_request(log),
        settings=_settings(log.arguments),
        terms=terms,
        kv_tokens=_capacity(log),
        max_concurrency=log.max_concurrency,
        graphs_in_budget=log.graphs_in_budget,
        kv_needed_gib=log.kv_needed_gib,
        longest_model_len=log.longest_model_len,
        free_gib=log.least("free_gib"),
        requested_gib=log.most("requested_gib"),
        started=all(failure.kind == WHILE_SERVING for failure in log.failures),
        starts=log.starts,
        failures=log.failures,
        ranks=log.ranks,
        seconds=_seconds(log),
        notes=(*_notes(log.arguments, log.starts), *_ends_early(log)),
    )


def measured_of_endpoint(
    metrics: EndpointMetrics, *, vllm_version: str | None, max_model_len: int | None, model: str | None
) -> Measured:
    """Return what ``/metrics`` measured; the rest comes from ``/version`` and ``/v1/models`` where they answer."""
    settings = _settings(metrics.arguments)
    length = max_model_len
    if length is None and metrics.kv_tokens and metrics.max_concurrency:
        length = round(metrics.kv_tokens / metrics.max_concurrency)
    if length:
        settings["max_model_len"] = length
    tokens = metrics.kv_tokens
    if tokens is None and metrics.num_gpu_blocks is not None:
        tokens = metrics.num_gpu_blocks * int(metrics.arguments.get("block_size", BLOCK))
    return Measured(
        source="endpoint",
        vllm_version=vllm_version,
        model=model or metrics.model_name,
        gpu_name=None,
        total_gib=None,
        settings=settings,
        terms={"kv_cache_gib": metrics.kv_cache_gib} if metrics.kv_cache_gib is not None else {},
        kv_tokens=tokens,
        max_concurrency=metrics.max_concurrency,
        graphs_in_budget=None,
        load=metrics.load,
        notes=_load_notes(metrics.load),
    )


def _capacity(log: StartupLog) -> int | None:
    """Return tokens of the cache: as printed, or blocks of V0 times their size."""
    if log.kv_tokens is not None or log.num_gpu_blocks is None:
        return log.kv_tokens
    return log.num_gpu_blocks * int(log.arguments.get("block_size", BLOCK))


def _total_of_request(log: StartupLog) -> float | None:
    requested, share = log.most("requested_gib"), log.arguments.get("gpu_memory_utilization")
    return round(requested / float(share), 2) if requested is not None and share else None


def _seconds(log: StartupLog) -> dict[str, float]:
    found = {
        "load_weights": log.load_weights_s,
        "compile": log.compile_s,
        "graph_capture": log.graph_capture_s,
        "init_engine": log.init_engine_s,
    }
    return {name: value for name, value in found.items() if value is not None}


def _settings(arguments: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return engine settings under our names. What is off stays out: LoRA, speculation, methods not modelled."""
    lora = arguments.get("enable_lora") is True
    method = arguments.get("speculative_method")
    speculation = method in KNOWN_SPECULATION and "num_speculative_tokens" in arguments
    found: dict[str, Setting] = {}
    for name, setting in ARGUMENTS.items():
        left_out = (setting in LORA and not lora) or (setting in SPECULATION and not speculation)
        if name in arguments and not left_out and setting in EngineOverrides.model_fields:
            found[setting] = arguments[name]
    if lora and "max_loras" in EngineOverrides.model_fields:
        found.setdefault("max_loras", 1)
    if "kv_cache_dtype" in found:
        found["kv_cache_dtype"] = "fp8" if str(found["kv_cache_dtype"]).startswith("fp8") else "auto"
    return found


def _notes(arguments: Mapping[str, Setting], starts: int) -> tuple[str, ...]:
    notes = []
    if starts > 1:
        notes.append(f"the log holds {starts} starts; the last one with figures is compared")
    if "speculative_model" in arguments or arguments.get("speculative_method", "mtp") not in KNOWN_SPECULATION:
        notes.append("the engine has a draft model, which the estimate does not count")
    if arguments.get("kv_cache_memory_bytes"):
        notes.append("kv_cache_memory_bytes fixes the cache: its size follows from no profile")
    if arguments.get("num_gpu_blocks_override"):
        notes.append("num_gpu_blocks_override fixes the cache: its size follows from no profile")
    if arguments.get("cpu_offload_gb"):
        notes.append(f"cpu_offload_gb {arguments['cpu_offload_gb']}: a part of the weights is not on the GPU")
    return tuple(notes)


def _ends_early(log: StartupLog) -> tuple[str, ...]:
    if log.failures or log.started:
        return ()
    return ("the log ends before the cache was sized: keep it at least to `init engine ... took`",)


def _load_notes(load: ServingLoad) -> tuple[str, ...]:
    if load.preemptions:
        return (f"{load.preemptions} preemptions since the start: the cache has been full",)
    return ()


def find_gpu(measured: Measured, stated: str | None, catalogue: Catalogue) -> tuple[Gpu, str]:
    """Return the card and the reason; BadInput when it is ambiguous, naming the candidates."""
    if stated is not None:
        return catalogue.gpu(stated), "stated"
    named = _named(measured.gpu_name, catalogue) if measured.gpu_name else None
    total = measured.total_gib
    if named is not None and (total is None or _same(named, total)):
        return named, f"the log names {measured.gpu_name}"
    if total is None:
        raise BadInput("gpu", f"the {measured.source} does not say which it is", way_out="name it with --gpu")
    alike = [gpu for gpu in catalogue.gpus if _same(gpu, total)]
    if len(alike) == 1:
        return alike[0], f"the only known card with {total:g} GiB"
    problem = f"{total:g} GiB is the size of {', '.join(gpu.name for gpu in alike) or 'no known card'}"
    raise BadInput("gpu", problem, way_out="name it with --gpu")


def _same(gpu: Gpu, total: float) -> bool:
    return abs(gpu.total_gib - total) <= SAME_CARD * gpu.total_gib


def _named(printed: str, catalogue: Catalogue) -> Gpu | None:
    """Return the card whose name or alias begins what CUDA calls it; the longest such name counts."""
    text = re.sub(r"[\s_]+", "-", printed.strip()).upper()
    text = re.sub(r"^(?:NVIDIA|AMD)-", "", text)
    text = re.sub(r"^(?:GEFORCE|TESLA|INSTINCT)-", "", text)
    names = {name.upper(): gpu for gpu in catalogue.gpus for name in (gpu.name, *gpu.aliases)}
    fitting = [name for name in names if text == name or text.startswith(name + "-")]
    return names[max(fitting, key=len)] if fitting else None


def find_model_name(measured: Measured, stated: str | None, catalogue: Catalogue) -> str:
    """Return the name to look the model up by: as stated, as printed, or the last part of the folder it came from."""
    if stated is not None:
        return stated
    if measured.model is None:
        raise BadInput("model", f"the {measured.source} does not say which it is", way_out="name it with --model")
    tail = measured.model.rstrip("/").rpartition("/")[2]
    tail = _of_hub_cache(measured.model) or tail
    known = {name.lower(): name for full in catalogue.models for name in (full, full.rpartition("/")[2])}
    for candidate in (measured.model, tail):
        if candidate.lower() in known:
            return candidate
    if measured.model.startswith(("/", ".", "~")) or "/" not in measured.model:
        problem = f"{tail[:100]!r}, as the {measured.source} calls it, is not in the catalogue"
        raise BadInput("model", problem, way_out="name it, its config.json or its folder with --model")
    return measured.model


def _of_hub_cache(path: str) -> str | None:
    """Return the name in a folder of the Hub's cache: ``models--owner--name/snapshots/REVISION``."""
    found = re.search(r"models--([\w.-]{1,100}?)--([\w.-]{1,100})(?:/|$)", path)
    return f"{found[1]}/{found[2]}" if found else None
