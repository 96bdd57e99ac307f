"""How a checkpoint stores its linear layers, read from ``quantization_config``.

Known: fp8 (per tensor, channel, block; experts in MXFP4), fbgemm_fp8, AWQ, GPTQ with its ``dynamic`` rules,
AutoRound, compressed-tensors with any number of groups, NVIDIA ModelOpt (FP8, NVFP4, MXFP8, mixed per layer), MXFP4,
MXFP8, bitsandbytes 4 and 8 bit. Embeddings, norms, gates and the head stay in the model's type unless the checkpoint
says otherwise. Anything else is refused by name. The result is described in ``sizing.models.quantisation.layers``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.quantisation import formats
from sizing.models.quantisation.layers import (
    NONE,
    PLAIN,
    LayerGroup,
    Layout,
    Quantisation,
    Scheme,
    blocks_divide,
    group_bytes,
    matrix_bytes,
)

__all__ = [
    "NONE",
    "PLAIN",
    "LayerGroup",
    "Layout",
    "Quantisation",
    "Scheme",
    "blocks_divide",
    "declared_quantisation",
    "for_engine",
    "group_bytes",
    "kv_cache_dtype_of",
    "matrix_bytes",
    "online_quantisation",
    "quantisation_of",
]

WHERE = "quantization_config"
READERS: Mapping[str, Callable[[Mapping[str, object]], Quantisation]] = {
    "fp8": formats.fp8,
    "deepseek_v4_fp8": formats.fp8,
    "fbgemm_fp8": formats.fbgemm_fp8,
    "awq": formats.awq,
    "gptq": formats.gptq,
    "gptq_marlin": formats.gptq,
    "awq_marlin": formats.awq,
    "auto-round": formats.auto_round,
    "compressed-tensors": formats.compressed_tensors,
    "modelopt": formats.modelopt,
    "modelopt_fp4": formats.modelopt,
    "modelopt_mixed": formats.modelopt,
    "mxfp4": formats.mxfp4,
    "mxfp8": formats.mxfp8,
    "bitsandbytes": formats.bitsandbytes,
}
OTHER_FORMATS = {
    "aqlm": "AQLM", "bitnet": "BitNet", "eetq": "EETQ", "fp_quant": "FP-Quant", "gguf": "GGUF", "higgs": "HIGGS",
    "hqq": "HQQ", "quanto": "Quanto", "quark": "AMD Quark", "spqr": "SpQR", "torchao": "torchao", "vptq": "VPTQ",
}  # fmt: skip
"""Formats that exist and are not modelled."""
TYPES = {"float16": {"float16", "half"}, "bfloat16": {"bfloat16"}, "float32": {"float32", "float"}}
BFLOAT16_ONLY = frozenset({"mxfp4", "mxfp8"})
"""vLLM's ``get_supported_act_dtypes``: these formats run in bfloat16; all others in float16 too."""


def declared_quantisation(config: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the quantization_config, also of a multimodal model's text part; None when there is none."""
    inner = config.get("text_config")
    for owner in (config, inner if isinstance(inner, Mapping) else {}):
        stated = owner.get(WHERE) or owner.get("compression_config")
        if stated is not None and not isinstance(stated, Mapping):
            raise BadInput(WHERE, f"expected an object, got {type(stated).__name__}")
        if stated:
            return {**stated, **_experts_in_fp4(config)}
    return None


def _experts_in_fp4(config: Mapping[str, object]) -> dict[str, object]:
    """DeepSeek-V4 says outside of its quantization_config that the experts are stored in 4 bits."""
    return {"expert_dtype": config["expert_dtype"]} if isinstance(config.get("expert_dtype"), str) else {}


def quantisation_of(config: Mapping[str, object]) -> Quantisation:
    """Read ``quantization_config`` (or its absence); BadInput for a method or a form that is not modelled."""
    stated = declared_quantisation(config)
    if stated is None:
        return NONE
    method = str(stated.get("quant_method") or _implied_method(stated)).lower()
    if method not in READERS:
        known = OTHER_FORMATS.get(method)
        raise BadInput(
            f"{WHERE}.quant_method",
            f"{method[:60]!r}{f' ({known})' if known else ''} is not modelled",
            limit="fp8, awq, gptq, auto-round, compressed-tensors, modelopt, mxfp4, mxfp8, bitsandbytes",
            way_out="supply the weights per GPU with --weights-gib and leave quantization_config out",
        )
    quantisation = READERS[method](stated)
    _check_dtype(config, quantisation)
    return quantisation


def _implied_method(stated: Mapping[str, object]) -> str:
    """Old files leave the method out; their keys imply it."""
    if "quant_algo" in stated or "quantization" in stated:
        return "modelopt"
    if "config_groups" in stated:
        return "compressed-tensors"
    if stated.get("load_in_4bit") or stated.get("load_in_8bit"):
        return "bitsandbytes"
    return str(stated.get("quant_method"))


def _check_dtype(config: Mapping[str, object], quantisation: Quantisation) -> None:
    """Refuse a type in which vLLM does not run the format."""
    inner = config.get("text_config")
    dtype = next(
        (owner[key] for owner in (config, inner) if isinstance(owner, Mapping)
         for key in ("torch_dtype", "dtype") if owner.get(key) is not None), None
    )  # fmt: skip
    if quantisation.main.kind in BFLOAT16_ONLY and dtype in TYPES["float16"]:
        raise BadInput(
            "config.json: torch_dtype", f"{dtype!r} with {quantisation.main.kind} weights",
            limit="bfloat16", way_out="take the config.json that belongs to the checkpoint",
        )  # fmt: skip


def online_quantisation(name: str) -> Quantisation:
    """Return what ``--quantization NAME`` makes of a checkpoint in 16 bits; BadInput for an unknown name."""
    schemes = {
        "fp8": formats.FP8_TENSOR,
        "fp8_per_tensor": formats.FP8_TENSOR,
        "fp8_per_channel": formats.FP8_CHANNEL,
        "fp8_per_block": formats.fp8_block(128, 128),
        "bitsandbytes": formats.NF4_DOUBLE,
        "mxfp8": formats.MXFP8,
        "nvfp4_per_token": formats.nvfp4(16),
        "int8_per_channel_weight_only": formats.INT8_CHANNEL,
        "experts_int8": formats.INT8_CHANNEL,
    }
    if name not in schemes:
        raise BadInput("quantization", f"{name[:60]!r} is not known", limit=", ".join(schemes))
    group = LayerGroup(scheme=schemes[name], experts_only=name == "experts_int8")
    return Quantisation(method=name, groups=(group,))


def for_engine(
    quantisation: Quantisation, version: tuple[int, ...], compute_capability: tuple[int, int] | None = None
) -> Quantisation:
    """Return the quantisation as the vLLM of ``version`` loads it on a card; BadInput for what that version refuses.

    Before 0.9.2 doubly quantised scales of bitsandbytes stayed quantised (pull request 19742). 0.32 has no
    bitsandbytes, and of GPTQ only symmetric weights in the order of the checkpoint (``AutoGPTQConfig``). MXFP4
    experts run on Triton kernels on Hopper (9.0) since 0.10.2, on Marlin or TRT-LLM before and elsewhere
    (``_get_priority_backends_for_gpt_oss``), which pad them differently. Without a card: Marlin, the larger.
    """
    if version >= (0, 32):
        _check_0_32(quantisation)
    if compute_capability is not None:
        triton = compute_capability[0] == 9 and version >= (0, 10, 2)
        quantisation = replace(quantisation, layout="triton" if triton else "marlin")
    if version >= (0, 9, 2):
        return quantisation
    groups = tuple(
        replace(group, scheme=replace(group.scheme, scale_bytes=group.scheme.stored_scale_bytes))
        if group.scheme.stored_scale_bytes is not None
        else group
        for group in quantisation.groups
    )
    return replace(quantisation, groups=groups)


def _check_0_32(quantisation: Quantisation) -> None:
    """Refuse the methods that vLLM removed."""
    schemes = [group.scheme for group in quantisation.groups]
    problem = ""
    if quantisation.method == "bitsandbytes":
        problem = "bitsandbytes is not part of vLLM 0.32"
    elif quantisation.method == "gptq" and any(scheme.column_order for scheme in schemes):
        problem = "GPTQ with desc_act is refused by vLLM 0.32"
    elif quantisation.method == "gptq" and any(scheme.zero_points for scheme in schemes):
        problem = "GPTQ without symmetry is refused by vLLM 0.32"
    elif quantisation.method == "awq" and quantisation.bits != 4:
        problem = "AWQ in 8 bits is refused by vLLM 0.32"
    if problem:
        raise BadInput(f"{WHERE}.quant_method", problem, way_out="take an fp8, AWQ or compressed-tensors checkpoint")


def kv_cache_dtype_of(config: Mapping[str, object]) -> str:
    """Return ``fp8`` where the checkpoint itself switches the cache to fp8, as vLLM then does unasked; else ``auto``.

    compressed-tensors with a ``kv_cache_scheme`` (``Attention.__init__``) and ModelOpt with ``kv_cache_quant_algo``
    or ``kv_cache_scheme`` (``get_kv_cache_quant_algo_string``). BadInput for a cache in 4 bits, which is not modelled.
    """
    stated = declared_quantisation(config)
    if stated is None:
        return "auto"
    method = str(stated.get("quant_method") or _implied_method(stated)).lower()
    if method == "compressed-tensors":
        return _scheme_dtype(stated.get("kv_cache_scheme"))
    if not method.startswith("modelopt"):
        return "auto"
    inner = stated.get("quantization")
    for owner in (inner, stated):
        for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
            if isinstance(owner, Mapping) and owner.get(key):
                return _scheme_dtype(owner[key])
    return "auto"


def _scheme_dtype(scheme: object) -> str:
    """Return the cache type of a ``kv_cache_scheme`` object or a ``kv_cache_quant_algo`` name."""
    if not scheme:
        return "auto"
    bits = scheme.get("num_bits") if isinstance(scheme, Mapping) else None
    name = str(scheme).upper() if isinstance(scheme, str) else ""
    if name == "NVFP4" or bits == 4:
        raise BadInput(
            f"{WHERE}.kv_cache_scheme", "a KV cache in 4 bits is not modelled",
            way_out="leave the field out of a copy of the file to plan with --kv-cache-dtype fp8, an upper bound",
        )  # fmt: skip
    return "fp8" if name == "FP8" or bits == 8 else "auto"
