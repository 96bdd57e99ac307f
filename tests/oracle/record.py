"""Ask vLLM's own model classes what they hold, without a GPU, and write the answers down.

Runs in the oracle's environment (README.md beside this file), never in the project's. Every configuration is
built on torch's meta device, so nothing is allocated, with a process group that only pretends to have TP ranks.
Parameters, buffers and KV cache specs come from the built model; groups, blocks and tokens from the functions
that the engine runs at start-up. Each build has a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.abc
import importlib.machinery
import json
import os
import pickle
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

HERE = Path(__file__).resolve().parent
CATALOGUE = HERE.parent.parent / "sizing" / "catalogue" / "models"
TENSOR_PARALLEL = (1, 2, 4, 8)
BLOCK_SIZE = 16
AVAILABLE_BYTES = 40 * 2**30
MAX_NUM_BATCHED_TOKENS = 8192
MAX_NUM_SEQS = 256
SHORT_LENGTH = 8192
BUILD_SECONDS = 120

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("VLLM_USE_MODELSCOPE", "0")


# --- what a child process does -------------------------------------------------------------------------------


REFUSALS = (ValueError, NotImplementedError, AssertionError)
"""How vLLM refuses a cache that it cannot lay out; the refusal is recorded in place of the figures.

NotImplementedError is raised by vLLM itself, for layouts that it has not written; nothing of ours raises it.
"""


def become_rank(world_size: int, rank: int) -> None:
    """A process group of ``world_size`` ranks of which only this one exists."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from vllm.distributed import parallel_state
    from vllm.distributed.device_communicators import shm_broadcast

    real_new_group = dist.new_group
    dist.new_group = lambda *a, **k: real_new_group(*a, **{**k, "backend": "fake"})
    dist.init_process_group(backend="fake", store=FakeStore(), rank=rank, world_size=world_size)
    shm_broadcast.MessageQueue.create_from_process_group = staticmethod(lambda *a, **k: None)
    parallel_state.in_the_same_node_as = lambda group, source_rank=0: [True] * world_size


def act_as_cuda() -> None:
    """Decide as on a Hopper GPU where the CPU build would decide for itself.

    The CPU platform changes the block size, switches asynchronous scheduling off, disables prefix caching for
    MLA and has attention backends of its own. Here: CUDA's defaults, and the backends that CUDA takes first,
    with implementations that are never run.
    """
    from vllm import _custom_ops
    from vllm.platforms.cpu import CpuPlatform
    from vllm.platforms.interface import DeviceCapability, Platform, PlatformEnum

    CpuPlatform.check_and_update_config = classmethod(_check_config)
    CpuPlatform.update_block_size_for_backend = Platform.__dict__["update_block_size_for_backend"]
    CpuPlatform._enum = PlatformEnum.CUDA
    CpuPlatform.get_attn_backend_cls = classmethod(_backend_path)
    CpuPlatform.get_device_capability = classmethod(lambda cls, device_id=0: DeviceCapability(9, 0))
    CpuPlatform.get_device_name = classmethod(lambda cls, device_id=0: "NVIDIA H100 80GB HBM3")
    CpuPlatform.get_device_communicator_cls = Platform.__dict__["get_device_communicator_cls"]
    CpuPlatform.supports_fp8 = classmethod(lambda cls: True)
    _stand_in_for_kernels()
    for question in ("fp8", "block_fp8", "fp4"):
        setattr(_custom_ops, f"cutlass_scaled_mm_supports_{question}", lambda capability: True)


class AbsentKernel:
    """A kernel that has a name and overloads and does nothing."""

    def __call__(self, *args: Any, **options: Any) -> None:
        return None

    def __getattr__(self, name: str) -> AbsentKernel:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def _stand_in_for_kernels() -> None:
    """Kernels that only the CUDA build has exist by name; none is ever called."""
    import torch
    from torch import _ops
    from vllm.v1.attention.backends import fa_utils

    real = _ops._OpNamespace.__getattr__

    def named(namespace: Any, name: str) -> Any:
        try:
            return real(namespace, name)
        except AttributeError:
            if name.startswith("__") or not namespace.name.startswith("_"):
                raise
            return AbsentKernel()

    _ops._OpNamespace.__getattr__ = named
    for function in ("flash_attn_varlen_func", "get_scheduler_metadata", "reshape_and_cache_flash"):
        if not hasattr(fa_utils, function):
            setattr(fa_utils, function, lambda *a, **k: None)
    for handle in ("Stream", "Event"):
        setattr(torch.cuda, handle, type(handle, (), {"__init__": lambda self, *a, **k: None}))
    real_list = torch.Tensor.tolist
    torch.Tensor.tolist = lambda tensor: [0.0] * tensor.numel() if tensor.is_meta else real_list(tensor)
    real_to = torch.nn.Module.to
    torch.nn.Module.to = lambda module, *a, **k: real_to(module, k["dtype"]) if k.get("dtype") else module


class AbsentLibrary(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Python packages and extensions of kernels: importable, empty."""

    names = ("cutlass", "cuda", "tvm_ffi", "quack", "vllm._flashkda_C")

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        if not any(f"{fullname}.".startswith(f"{name}.") for name in self.names):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> Any:
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__ = spec, []
        return module

    def exec_module(self, module: Any) -> None:
        return None


def _libraries() -> None:
    """Optional libraries of a CUDA installation whose absence would change what vLLM decides."""
    from vllm.utils import import_utils

    import_utils.has_deep_gemm = lambda: True
    sys.meta_path.append(AbsentLibrary())


def _check_config(cls: type, vllm_config: Any) -> None:
    vllm_config.parallel_config.worker_cls = "vllm.v1.worker.gpu_worker.Worker"


def _backend_path(cls: type, selected_backend: Any, attn_selector_config: Any, num_heads: int | None = None) -> str:
    name = "FLASH_ATTN"
    if attn_selector_config.use_mla:
        name = "FLASH_ATTN_MLA_SPARSE" if attn_selector_config.use_sparse else "FLASH_ATTN_MLA"
        if attn_selector_config.use_sparse and attn_selector_config.kv_cache_dtype not in (None, "auto", "bfloat16"):
            name = "FLASHMLA_SPARSE"
    return f"record.{_reference_backend(name).__name__}"


def _reference_backend(name: str) -> type:
    """The backend class of vLLM with an implementation that only takes its arguments."""
    made = globals().get(f"Reference_{name}")
    if made is not None:
        return made
    from vllm.v1.attention.backends.registry import AttentionBackendEnum

    backend = AttentionBackendEnum[name].get_class()
    real = backend.get_impl_cls()
    silent = type("SilentImpl", (real,), {"__init__": lambda self, *a, **k: None})
    made = type(f"Reference_{name}", (backend,), {"get_impl_cls": staticmethod(lambda: silent)})
    globals()[made.__name__] = made
    return made


def _cache_config(model: Any, ask: dict[str, Any]) -> Any:
    """Cache settings as ``EngineArgs.create_engine_config`` derives them from the model."""
    from vllm.config import CacheConfig
    from vllm.utils.torch_utils import resolve_kv_cache_dtype_string

    layer_types = getattr(model.hf_text_config, "layer_types", None)
    same_window = layer_types is None or all(kind == "sliding_attention" for kind in layer_types)
    return CacheConfig(
        enable_prefix_caching=ask.get("prefix_caching", True),
        cache_dtype=resolve_kv_cache_dtype_string(ask.get("kv_cache_dtype", "auto"), model),
        is_attention_free=model.is_attention_free,
        sliding_window=model.get_sliding_window() if same_window else None,
    )


def engine_config(folder: Path, ask: dict[str, Any]) -> Any:
    """The engine's configuration as ``vllm serve`` would make it, without executor."""
    from vllm.config import DeviceConfig, LoadConfig, ModelConfig, ParallelConfig, VllmConfig
    from vllm.config.scheduler import SchedulerConfig

    ways = {"tensor_parallel_size": ask["tp"], "pipeline_parallel_size": ask.get("pp", 1)}
    if ask["tp"] * ask.get("pp", 1) > 1:
        ways["distributed_executor_backend"] = "external_launcher"
    model = ModelConfig(
        model=str(folder),
        skip_tokenizer_init=True,
        dtype=ask.get("dtype", "bfloat16"),
        enforce_eager=True,
        max_model_len=ask.get("max_model_len"),
        **ask.get("model_options", {}),
    )
    scheduler = SchedulerConfig(
        max_num_batched_tokens=MAX_NUM_BATCHED_TOKENS,
        max_num_seqs=MAX_NUM_SEQS,
        max_model_len=model.max_model_len,
        is_encoder_decoder=model.is_encoder_decoder,
        async_scheduling=ask.get("pp", 1) == 1,
    )
    return VllmConfig(
        model_config=model,
        parallel_config=ParallelConfig(**ways, enable_expert_parallel=ask.get("ep", False)),
        cache_config=_cache_config(model, ask),
        scheduler_config=scheduler,
        device_config=DeviceConfig("cpu"),
        load_config=LoadConfig(load_format="dummy"),
    )


def _plain_configuration(folder: Path) -> None:
    """A configuration class that only the checkpoint's own code has becomes a plain one with the same fields."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from vllm.transformers_utils.config import _CONFIG_REGISTRY

    fields = json.loads((folder / "config.json").read_text())
    kind = fields["model_type"]
    if kind not in CONFIG_MAPPING and kind not in _CONFIG_REGISTRY:
        AutoConfig.register(kind, _plain_class(fields))


class Fields(dict[str, Any]):
    """A dictionary whose keys are attributes too (the blocks of Nemotron-NAS)."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return Fields(self[name]) if isinstance(self[name], dict) else self[name]


def _plain_class(fields: dict[str, Any]) -> type:
    """Class of a configuration with these fields; parts with a model type of their own become configurations."""
    from transformers import PretrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    def nested(value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return [Fields(item) for item in value]
        if not isinstance(value, dict) or "model_type" not in value:
            return value
        kind = value["model_type"]
        return CONFIG_MAPPING[kind](**value) if kind in CONFIG_MAPPING else _plain_class(value)(**value)

    def start(self: Any, **options: Any) -> None:
        if options.get("use_sliding_window") is False:  # as Qwen2Config, which such classes extend
            options["sliding_window"] = None
        PretrainedConfig.__init__(self, **{key: nested(value) for key, value in options.items()})

    scalars = {key: value for key, value in fields.items() if isinstance(value, int | float | str | None)}
    return type("PlainConfig", (PretrainedConfig,), {**scalars, "__init__": start})


def build(folder: Path, ask: dict[str, Any]) -> tuple[Any, Any]:
    """(engine configuration, model on the meta device) of one rank."""
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.platforms import current_platform

    ways = ask["tp"] * ask.get("pp", 1)
    os.environ.update(RANK=str(ask.get("rank", 0)), WORLD_SIZE=str(ways), LOCAL_RANK="0")
    _plain_configuration(folder)
    config = engine_config(folder, ask)
    become_rank(ways, ask.get("rank", 0))
    with set_current_vllm_config(config):
        parallel_state.init_distributed_environment(
            world_size=ways, rank=ask.get("rank", 0), local_rank=0, backend="fake", distributed_init_method="env://"
        )
        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=ask["tp"], pipeline_model_parallel_size=ask.get("pp", 1), backend="fake"
        )
        torch.set_default_dtype(config.model_config.dtype)
        with torch.device("meta"):
            model = initialize_model(vllm_config=config, model_config=config.model_config)
        current_platform.update_block_size_for_backend(config)
    return config, model


def tensors(model: Any) -> list[tuple[str, str, tuple[int, ...], str, int]]:
    """(kind, name, shape, dtype, bytes) of every parameter and buffer, tied ones once."""
    found = []
    for kind, pairs in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in pairs:
            dtype = str(tensor.dtype).removeprefix("torch.")
            found.append((kind, name, tuple(tensor.shape), dtype, tensor.numel() * tensor.element_size()))
    return found


def specs_of(config: Any) -> dict[str, Any]:
    """KV cache spec of every layer that keeps one, as GPUModelRunner.get_kv_cache_spec collects them."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.v1.kv_cache_interface import AttentionSpec
    from vllm.v1.worker.utils import customize_attention_spec

    specs = {}
    with set_current_vllm_config(config):
        for name, layer in config.compilation_config.static_forward_context.items():
            if not isinstance(layer, AttentionLayerBase) or getattr(layer, "kv_sharing_target_layer_name", None):
                continue
            spec = layer.get_kv_cache_spec(config)
            if spec is None:
                continue
            if isinstance(spec, AttentionSpec):
                spec = customize_attention_spec(layer.get_attn_backend(), spec)
            specs[name] = spec
    return specs


def plain(value: Any) -> Any:
    """JSON form of a spec's field."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | float | str | None):
        return value
    return str(value).removeprefix("torch.")


def spec_row(spec: Any) -> dict[str, Any]:
    """Kind, page and every field of a spec that is not its default."""
    row = {"kind": type(spec).__name__, "page_size_bytes": spec.page_size_bytes}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name == "kv_cache_specs":
            row["layer_specs"] = aggregated(value)
        elif value is not None and value != field.default:
            row[field.name] = plain(value)
    return row


def aggregated(specs: dict[str, Any]) -> list[dict[str, Any]]:
    """Equal specs once, with the number of layers and their positions in the model."""
    rows: dict[str, dict[str, Any]] = {}
    for name, spec in specs.items():
        row = spec_row(spec)
        key = json.dumps(row, sort_keys=True)
        entry = rows.setdefault(key, {**row, "names": []})
        entry["names"].append(name)
    result = []
    for entry in rows.values():
        names = entry.pop("names")
        result.append({**entry, "layers": len(names), "of": patterns(names)})
    return sorted(result, key=lambda row: json.dumps(row, sort_keys=True))


def patterns(names: list[str]) -> dict[str, str]:
    """Name pattern -> layer numbers as ranges."""
    found: dict[str, list[int]] = {}
    for name in names:
        pattern, number = split_name(name)
        found.setdefault(pattern, []).append(number)
    return {pattern: ranges(numbers) for pattern, numbers in sorted(found.items())}


def resolve_layout(config: Any, specs: dict[str, Any]) -> None:
    """The layout of the whole cache, as the engine core settles it before it makes groups."""
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.v1.attention.backends.utils import get_supported_kv_cache_layouts, resolve_kv_cache_layout

    layers = [x for x in config.compilation_config.static_forward_context.values() if isinstance(x, AttentionLayerBase)]
    backends = list(dict.fromkeys(layer.get_attn_backend() for layer in layers))
    layouts = [layout.name for layout in get_supported_kv_cache_layouts(backends)]
    resolve_kv_cache_layout(config, [layouts], specs.values())


def capacity(config: Any, specs: dict[str, Any]) -> dict[str, Any]:
    """Groups, blocks, tokens and concurrency that the engine would make of AVAILABLE_BYTES."""
    from vllm.config import set_current_vllm_config
    from vllm.v1.core import kv_cache_utils

    with set_current_vllm_config(config):
        resolve_layout(config, specs)
        groups = kv_cache_utils.get_kv_cache_groups(config, dict(specs))
        if not groups:
            return {"groups": []}
        shape = {
            "bytes_per_block": kv_cache_utils._pool_bytes_per_block(config, groups),
            "bytes_per_request": kv_cache_utils._max_memory_usage_bytes_from_groups(config, groups),
            "groups": [group_row(group) for group in groups],
        }
        try:
            made = kv_cache_utils.get_kv_cache_configs(config, [specs], [AVAILABLE_BYTES])
        except ValueError as refusal:
            return {**shape, "refused": one_line(refusal)}
        scheduler = kv_cache_utils.generate_scheduler_kv_cache_config(made)
        tokens, concurrency = kv_cache_utils.get_kv_cache_capacity(config, scheduler)
    return {**shape, "num_blocks": made[0].num_blocks, "tokens": tokens, "max_concurrency": round(concurrency, 6)}


def group_row(group: Any) -> dict[str, Any]:
    """One KV cache group: its layers and the spec that they share."""
    row = {"layers": len(group.layer_names), **spec_row(group.kv_cache_spec)}
    if "layer_specs" not in row:
        row["of"] = patterns(group.layer_names)
    return row


def answer(folder: Path, ask: dict[str, Any]) -> dict[str, Any]:
    """Everything about one rank under one setting."""
    config, model = build(folder, ask)
    specs = specs_of(config)
    rows = tensors(model)
    result = {
        "architecture": config.model_config.architecture,
        "max_model_len": config.model_config.max_model_len,
        "prefix_caching_by_default": config.model_config.is_prefix_caching_supported,
        "kv_cache_dtype": config.cache_config.cache_dtype,
        "tensors": rows,
        "parameter_bytes": sum(row[4] for row in rows if row[0] == "parameter"),
        "buffer_bytes": sum(row[4] for row in rows if row[0] == "buffer"),
        "block_size": config.cache_config.block_size,
        "mamba_cache_mode": config.cache_config.mamba_cache_mode,
        "in_flight_tokens": config.max_in_flight_tokens,
        "kv": aggregated(specs),
    }
    try:
        result["capacity"] = capacity(config, specs)
    except REFUSALS as refusal:
        result["capacity"] = {"refused": one_line(refusal)}
    return result


def one_line(error: BaseException) -> str:
    """First sentence of an error, without paths of this machine."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"/\S*/", "", re.sub(r"\btmp\w{8}\b", "FOLDER", text))
    return f"{type(error).__name__}: {text}"[:300]


# --- the parent ----------------------------------------------------------------------------------------------


def in_child(work: Callable[[], dict[str, Any]], seconds: int) -> dict[str, Any]:
    """Result of ``work`` from a forked process: what it patches and breaks stays there."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "out"
        child = os.fork()
        if child == 0:
            signal.alarm(seconds)
            if not os.environ.get("ORACLE_TRACE"):
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                result = work()
            except BaseException as error:  # the parent records whatever vLLM raises
                if os.environ.get("ORACLE_TRACE"):
                    traceback.print_exc()
                result = {"refused": one_line(error)}
            out.write_bytes(pickle.dumps(result))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not out.exists():
            return {"refused": f"the build ended with status {status}"}
        return pickle.loads(out.read_bytes())


def split_name(name: str) -> tuple[str, int]:
    """``model.layers.7.mlp.x`` -> (``model.layers.{i}.mlp.x``, 7); -1 where there is no number."""
    found = re.search(r"(?<=\.)\d+(?=\.|$)", name)
    if found is None:
        return name, -1
    return f"{name[: found.start()]}{{i}}{name[found.end() :]}", int(found.group())


def ranges(numbers: list[int]) -> str:
    """``[0, 1, 2, 5]`` -> ``0-2,5``."""
    parts: list[list[int]] = []
    for number in sorted(n for n in numbers if n >= 0):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def tensor_table(answers: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Pattern -> dtype, layers and the shape at each TP (a TP equal to the one below it is left out)."""
    rows: dict[tuple[str, str, str, str], dict[int, tuple[int, ...]]] = {}
    for tp, found in answers.items():
        grouped: dict[tuple[str, str, tuple[int, ...], str], list[int]] = {}
        for kind, name, shape, dtype, _ in found["tensors"]:
            pattern, number = split_name(name)
            grouped.setdefault((kind, pattern, shape, dtype), []).append(number)
        for (kind, pattern, shape, dtype), numbers in grouped.items():
            rows.setdefault((kind, pattern, dtype, ranges(numbers)), {})[tp] = shape
    table: dict[str, Any] = {"parameter": {}, "buffer": {}}
    for (kind, pattern, dtype, layers), shapes in sorted(rows.items()):
        entry: dict[str, Any] = {"dtype": dtype, "shape": thinned(shapes)}
        if layers:
            entry["layers"] = layers
        name = pattern
        while name in table[kind]:
            name += "'"
        table[kind][name] = entry
    return table


def thinned(shapes: dict[int, tuple[int, ...]]) -> dict[str, list[int]]:
    result: dict[str, list[int]] = {}
    last: tuple[int, ...] | None = None
    for tp in sorted(shapes):
        if shapes[tp] != last:
            result[str(tp)] = list(shapes[tp])
        last = shapes[tp]
    return result


def record(entry: dict[str, Any]) -> dict[str, Any]:
    """The recorded answer of one configuration file."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "config.json").write_text(json.dumps(entry["config"]))
        for name, content in entry.get("files", {}).items():
            (folder / name).write_text(json.dumps(content))
        options = {key: entry[key] for key in ("dtype", "model_options") if key in entry}

        def ask(**setting: Any) -> dict[str, Any]:
            return in_child(lambda: answer(folder, {**options, **setting}), BUILD_SECONDS)

        answers = {tp: ask(tp=tp) for tp in TENSOR_PARALLEL}
        first = next((found for found in answers.values() if "refused" not in found), None)
        if first is None:
            return {"refused": answers[1]["refused"]}
        document = summary(answers, first)
        document["capacity"] = list(capacities(answers, first, ask))
        if entry.get("pipeline"):
            document["pipeline"] = list(stages(ask, entry["pipeline"]))
        if entry.get("expert_parallel"):
            document["expert_parallel"] = [{"tp": tp, **sizes(ask(tp=tp, ep=True))} for tp in entry["expert_parallel"]]
        return document


def sizes(found: dict[str, Any]) -> dict[str, Any]:
    if "refused" in found:
        return {"refused": found["refused"]}
    return {key: found[key] for key in ("parameter_bytes", "buffer_bytes")}


def summary(answers: dict[int, dict[str, Any]], first: dict[str, Any]) -> dict[str, Any]:
    ranks = {str(tp): sizes(found) for tp, found in answers.items()}
    known = {tp: found for tp, found in answers.items() if "refused" not in found}
    kv: dict[str, Any] = {}
    last = None
    for tp, found in known.items():
        if found["kv"] != last:
            kv[str(tp)] = found["kv"]
        last = found["kv"]
    return {
        "architecture": first["architecture"],
        "max_model_len": first["max_model_len"],
        "kv_cache_dtype": first["kv_cache_dtype"],
        "prefix_caching_by_default": first["prefix_caching_by_default"],
        "ranks": ranks,
        "kv": kv,
        **tensor_table(known),
    }


def capacities(
    answers: dict[int, dict[str, Any]], first: dict[str, Any], ask: Callable[..., dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """What 40 GiB hold: at TP 1 and 8, long and short, and without prefix caching where states depend on it."""
    for tp, found in answers.items():
        if "refused" not in found and tp in (1, 8):
            yield capacity_row(tp, {}, found)
    tp = 1 if "refused" not in answers[1] else min(t for t, found in answers.items() if "refused" not in found)
    length = min(SHORT_LENGTH, first["max_model_len"])
    settings: list[dict[str, Any]] = [{"kv_cache_dtype": "fp8"}] if first["kv"] else []
    if length != first["max_model_len"]:
        settings.append({"max_model_len": length})
    if any(row["kind"] == "MambaSpec" for row in first["kv"]):
        settings += [{"prefix_caching": False}]
        if length != first["max_model_len"]:
            settings.append({"max_model_len": length, "prefix_caching": False})
    for setting in settings:
        found = ask(tp=tp, **setting)
        yield capacity_row(tp, setting, found)


def capacity_row(tp: int, setting: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Setting and answer; ``block_size`` is the one that vLLM settled on."""
    if "refused" in found:
        return {"tp": tp, **setting, "refused": found["refused"]}
    keys = ("max_model_len", "block_size", "mamba_cache_mode", "in_flight_tokens")
    asked = {"prefix_caching": True, "kv_cache_dtype": "auto", **setting}
    return {"tp": tp, **asked, **{key: found[key] for key in keys}, **found["capacity"]}


def stages(ask: Callable[..., dict[str, Any]], pipeline: int) -> Iterator[dict[str, Any]]:
    for rank in range(pipeline):
        found = ask(tp=1, pp=pipeline, rank=rank)
        if "refused" in found:
            yield {"pp": pipeline, "rank": rank, "refused": found["refused"]}
            continue
        layers = sum(row["layers"] for row in found["kv"])
        yield {"pp": pipeline, "rank": rank, **sizes(found), "kv_layers": layers}


def compact(document: dict[str, Any]) -> str:
    """JSON with one line for every entry of the tables."""
    lines = []
    for key, value in document.items():
        if isinstance(value, dict) and value:
            inner = ",\n".join(f"  {json.dumps(k)}: {one(v)}" for k, v in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        elif isinstance(value, list) and value:
            inner = ",\n".join(f"  {one(v)}" for v in value)
            lines.append(f" {json.dumps(key)}: [\n{inner}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {one(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def one(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def configurations(chosen: list[str]) -> Iterator[tuple[str, Path]]:
    """Every configuration of both folders; the oracle's own wins over one of the same name."""
    files = {path.stem: path for folder in (CATALOGUE, HERE / "configs") for path in sorted(folder.glob("*.json"))}
    for name, path in sorted(files.items()):
        if not chosen or any(part in name for part in chosen):
            yield name, path


def prepare() -> None:
    """Import once, before the first fork, and look at model classes here instead of in processes of their own."""
    _libraries()
    import torch.fx.experimental._config
    import vllm.config
    import vllm.model_executor.layers.fused_moe
    import vllm.model_executor.model_loader.utils
    import vllm.model_executor.models.llama
    import vllm.v1.attention.backends.flash_attn
    import vllm.v1.core.kv_cache_utils
    import vllm.v1.worker.gpu_model_runner  # noqa: F401
    from vllm.model_executor.layers.fused_moe import expert_map_manager
    from vllm.model_executor.models import registry

    act_as_cuda()
    torch.fx.experimental._config.meta_nonzero_assume_all_nonzero = True
    expert_map_manager.ExpertMapManager.get_compressed_map_string = lambda manager: ""
    registry._run_in_subprocess = lambda look: look()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only configurations whose file name contains one of these")
    parser.add_argument("--missing", action="store_true", help="only those without a recorded answer, or refused")
    parser.add_argument("--out", type=Path, default=HERE / "recorded")
    options = parser.parse_args()
    prepare()
    import vllm

    options.out.mkdir(exist_ok=True)
    refused = 0
    for name, path in configurations(options.names):
        target = options.out / f"{name}.json"
        if options.missing and target.exists() and "refused" not in json.loads(target.read_text()):
            continue
        start = time.monotonic()
        found = record(json.loads(path.read_text()))
        document = {"model": name.replace("--", "/", 1), "vllm": vllm.__version__, **found}
        target.write_text(compact(document))
        refused += "refused" in found
        said = found.get("refused") or {tp: row.get("parameter_bytes", "refused") for tp, row in found["ranks"].items()}
        print(f"{name} {time.monotonic() - start:.0f}s {said}", flush=True)
    print(f"{refused} refused")
    return 0


if __name__ == "__main__":
    sys.modules["record"] = sys.modules["__main__"]
    raise SystemExit(main())
