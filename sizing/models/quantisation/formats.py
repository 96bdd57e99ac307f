"""Readers of the forms of ``quantization_config``, one function per method.

Each takes the object of the file and returns a ``Quantisation``; BadInput names the field that is missing, unknown
or contradicts another. What the forms mean is taken from vLLM 0.32 (``vllm/model_executor/layers/quantization``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from sizing.errors import BadInput
from sizing.models.quantisation.layers import PLAIN, Granularity, LayerGroup, Quantisation, Scheme
from sizing.models.quantisation.module_names import MOST_NAMES, ModuleNames, module_names

WHERE = "quantization_config"
WAY_OUT = "supply the weights per GPU with --weights-gib and leave quantization_config out"
MOST_GROUPS = 64

ENCODER_MODULES = ("vision_tower", "vision_model", "visual", "vit_large_projector", "audio_tower")
"""Encoders of images and sound, which AWQ, GPTQ and ModelOpt never quantise, listed or not: vLLM reads that from the
checkpoint or knows the names."""

FP8_TENSOR = Scheme(bits=8, kind="fp8", granularity="tensor", scale_bytes=4, global_scales=1)
"""Weight scale and input scale, float32."""
FP8_CHANNEL = Scheme(bits=8, kind="fp8", granularity="channel", scale_bytes=4)
INT8_CHANNEL = Scheme(bits=8, kind="int", granularity="channel", scale_bytes=4)
MXFP4 = Scheme(bits=4, kind="mxfp4", granularity="group", scale_bytes=1, group_size=32)
MXFP8 = Scheme(bits=8, kind="mxfp8", granularity="group", scale_bytes=1, group_size=32)
NF4_BLOCK, NF4_NESTED_BLOCK = 64, 256
"""Elements of one absmax, and absmax of one scale of the second level (bitsandbytes)."""
NF4 = Scheme(bits=4, kind="nf4", granularity="flat", scale_bytes=4, group_size=NF4_BLOCK)
NF4_DOUBLE = Scheme(
    bits=4, kind="nf4", granularity="flat", scale_bytes=4, group_size=NF4_BLOCK,
    stored_scale_bytes=1 + 4 / NF4_NESTED_BLOCK,
)  # fmt: skip


def fp8_block(rows: int, columns: int) -> Scheme:
    """Return fp8 with one float32 scale per block of ``rows`` x ``columns``."""
    return Scheme(
        bits=8, kind="fp8", granularity="block", scale_bytes=4, block_rows=rows, block_columns=columns
    )  # fmt: skip


def nvfp4(group_size: int) -> Scheme:
    """Return NVFP4: one fp8 scale per ``group_size`` columns and two float32 scales of the matrix."""
    return Scheme(bits=4, kind="nvfp4", granularity="group", scale_bytes=1, group_size=group_size, global_scales=2)


def integer(bits: int, group_size: int, *, zero_points: bool = False, column_order: bool = False) -> Scheme:
    """Return packed integers with a 2-byte scale per ``group_size`` columns (0: per row)."""
    granularity: Granularity = "group" if group_size else "channel"
    return Scheme(
        bits=bits, kind="int", granularity=granularity, scale_bytes=2, group_size=group_size,
        zero_points=zero_points, column_order=column_order,
    )  # fmt: skip


def fp8(stated: Mapping[str, object]) -> Quantisation:
    """fp8 of DeepSeek, Qwen and others: per tensor, or per block with ``weight_block_size``."""
    bits = stated.get("bits", stated.get("num_bits", 8))
    if bits != 8:
        raise BadInput(f"{WHERE}.bits", f"{str(bits)[:40]!r} with quant_method fp8", limit="8")
    block = stated.get("weight_block_size")
    if block is None:
        scheme = FP8_TENSOR
    else:
        scheme = fp8_block(*_block(f"{WHERE}.weight_block_size", block))
        if stated.get("activation_scheme", "dynamic") != "dynamic":
            raise BadInput(f"{WHERE}.activation_scheme", "static with blocks of weights", limit="dynamic")
    groups = [LayerGroup(scheme=scheme)]
    if stated.get("expert_dtype") == "fp4" or stated.get("store_dtype") == "mxfp4":
        groups.insert(0, LayerGroup(scheme=MXFP4, experts_only=True))
    ignored = _names(stated, "ignored_layers", "modules_to_not_convert")
    return Quantisation(method="fp8", groups=tuple(groups), ignored=ignored)


def fbgemm_fp8(stated: Mapping[str, object]) -> Quantisation:
    """fp8 of Llama 3.1 405B: a float32 scale per output row."""
    return Quantisation(
        method="fbgemm_fp8", groups=(LayerGroup(scheme=FP8_CHANNEL),), ignored=_names(stated, "modules_to_not_convert")
    )


def awq(stated: Mapping[str, object]) -> Quantisation:
    """AWQ: 4-bit integers, scales and zero points per group; vLLM matches its ignore list by parts of names."""
    bits, group = _bits(stated), _group(stated)
    scheme = replace(integer(bits, group, zero_points=stated.get("zero_point") is not False), experts="awq")
    names = stated.get("modules_to_not_convert")
    ignored = _with_encoders(module_names(f"{WHERE}.modules_to_not_convert", names, reading="parts"))
    return Quantisation(
        method="awq", groups=(LayerGroup(scheme=scheme),), ignored=ignored, head=stated.get("lm_head") is True
    )


def gptq(stated: Mapping[str, object]) -> Quantisation:
    """GPTQ: integers and scales per group, zero points where it is not symmetric, rules per module in ``dynamic``."""
    scheme = _gptq_scheme(stated)
    dynamic = stated.get("dynamic") or {}
    if not isinstance(dynamic, Mapping) or len(dynamic) > MOST_GROUPS * 8:
        raise BadInput(f"{WHERE}.dynamic", "not an object of rules", limit=f"{MOST_GROUPS * 8} rules")
    groups = [_gptq_rule(stated, rule, change) for rule, change in dynamic.items()]
    only = stated.get("modules_in_block_to_quantize")
    flat = (
        [n for entry in only for n in (entry if isinstance(entry, list) else [entry])]
        if isinstance(only, list)
        else None
    )
    where = f"{WHERE}.modules_in_block_to_quantize"
    modules = module_names(where, flat, reading="parts") if flat else None
    groups.append(LayerGroup(scheme=scheme, modules=modules))
    ignored = _with_encoders(_names(stated, "modules_to_not_convert"))
    return Quantisation(method="gptq", groups=tuple(groups), ignored=ignored, head=stated.get("lm_head") is True)


def _gptq_scheme(stated: Mapping[str, object]) -> Scheme:
    group = _group(stated)
    symmetric = stated.get("sym") is not False
    order = stated.get("desc_act") is True and group > 0
    return replace(integer(_bits(stated), group, zero_points=not symmetric, column_order=order), experts="gptq")


def _gptq_rule(stated: Mapping[str, object], rule: object, change: object) -> LayerGroup:
    """One rule of ``dynamic``: ``-:pattern`` leaves modules alone, ``+:pattern`` changes the settings."""
    text = str(rule)
    pattern = text[2:] if text[:2] in {"-:", "+:"} else text
    modules = module_names(f"{WHERE}.dynamic", [pattern], patterns=True)
    if text.startswith("-:"):
        return LayerGroup(scheme=PLAIN, modules=modules)
    if not isinstance(change, Mapping):
        raise BadInput(f"{WHERE}.dynamic", f"the rule {text[:60]!r} is no object")
    return LayerGroup(scheme=_gptq_scheme({**stated, **change}), modules=modules)


def auto_round(stated: Mapping[str, object]) -> Quantisation:
    """AutoRound: as GPTQ, with other bits for some modules in ``extra_config``."""
    extra = stated.get("extra_config") or {}
    if not isinstance(extra, Mapping) or len(extra) > MOST_NAMES:
        raise BadInput(f"{WHERE}.extra_config", "not an object of modules")
    by_scheme: dict[Scheme, list[str]] = {}
    for name, change in extra.items():
        bits = change.get("bits", stated.get("bits")) if isinstance(change, Mapping) else None
        wide = bits in (16, 32)
        scheme = PLAIN if wide else _gptq_scheme({**stated, **(change if isinstance(change, Mapping) else {})})
        by_scheme.setdefault(scheme, []).append(str(name))
    groups = [
        LayerGroup(scheme=scheme, modules=module_names(f"{WHERE}.extra_config", names))
        for scheme, names in by_scheme.items()
    ]
    groups.append(LayerGroup(scheme=_gptq_scheme(stated)))
    ignored = _with_encoders(_names(stated, "modules_to_not_convert"))
    return Quantisation(method="auto-round", groups=tuple(groups), ignored=ignored)


def mxfp4(stated: Mapping[str, object]) -> Quantisation:
    """MXFP4 of gpt-oss: routed experts only, whatever the list of other modules says."""
    ignored = _names(stated, "modules_to_not_convert", "ignored_layers")
    return Quantisation(method="mxfp4", groups=(LayerGroup(scheme=MXFP4, experts_only=True),), ignored=ignored)


def mxfp8(stated: Mapping[str, object]) -> Quantisation:
    """MXFP8: fp8 with a one-byte scale per 32 columns."""
    ignored = _names(stated, "ignored_layers", "modules_to_not_convert")
    return Quantisation(method="mxfp8", groups=(LayerGroup(scheme=MXFP8),), ignored=ignored)


def bitsandbytes(stated: Mapping[str, object]) -> Quantisation:
    """bitsandbytes: 4 bits in blocks of 64, or 8 bits with a scale per row; ``llm_int8_skip_modules`` stay."""
    four, eight = stated.get("load_in_4bit") is True, stated.get("load_in_8bit") is True
    if four == eight:
        raise BadInput(f"{WHERE}.load_in_4bit", "exactly one of load_in_4bit and load_in_8bit must be true")
    double = stated.get("bnb_4bit_use_double_quant") is True
    scheme = (NF4_DOUBLE if double else NF4) if four else INT8_CHANNEL
    kind = stated.get("bnb_4bit_quant_type", "nf4")
    if four and kind not in {"nf4", "fp4"}:
        raise BadInput(f"{WHERE}.bnb_4bit_quant_type", f"{str(kind)[:40]!r}", limit="nf4, fp4")
    skipped = module_names(f"{WHERE}.llm_int8_skip_modules", stated.get("llm_int8_skip_modules"), reading="components")
    return Quantisation(method="bitsandbytes", groups=(LayerGroup(scheme=scheme),), ignored=skipped)


MODELOPT = {
    "FP8": FP8_TENSOR,
    "FP8_PER_CHANNEL_PER_TOKEN": FP8_CHANNEL,
    "FP8_PB_WO": fp8_block(128, 128),
    "MXFP8": MXFP8,
}
"""ModelOpt's algorithms without a group size of their own (vLLM ``LINEAR_ALGOS``)."""


def modelopt(stated: Mapping[str, object]) -> Quantisation:
    """NVIDIA ModelOpt: one algorithm, or MIXED_PRECISION with one per module in ``quantized_layers``."""
    inner = stated.get("quantization")
    own = inner if isinstance(inner, Mapping) else stated
    algorithm = str(own.get("quant_algo") or "FP8").upper()
    ignored = _names(own, "exclude_modules", "ignore", reading="parts")
    ignored = _with_encoders(ignored)
    if algorithm == "MIXED_PRECISION":
        groups = _modelopt_mixed(own)
    else:
        groups = (LayerGroup(scheme=_modelopt_scheme(algorithm, own)),)
    head = not ignored.match("lm_head") and any(group.holds("lm_head", False) for group in groups)
    return Quantisation(method="modelopt", groups=groups, ignored=ignored, head=head)


def _modelopt_scheme(algorithm: str, owner: Mapping[str, object]) -> Scheme:
    if algorithm in MODELOPT:
        return MODELOPT[algorithm]
    if algorithm in {"NVFP4", "W4A16_NVFP4", "NVFP4_AWQ"}:
        group = owner.get("group_size") or 16
        if group != 16:
            raise BadInput(f"{WHERE}.group_size", f"{str(group)[:40]} with {algorithm}", limit="16")
        return nvfp4(16)
    raise BadInput(
        f"{WHERE}.quant_algo", f"{algorithm[:60]!r} is not modelled",
        limit=f"{', '.join(MODELOPT)}, NVFP4, W4A16_NVFP4, MIXED_PRECISION", way_out=WAY_OUT,
    )  # fmt: skip


def _modelopt_mixed(own: Mapping[str, object]) -> tuple[LayerGroup, ...]:
    layers = own.get("quantized_layers")
    if not isinstance(layers, Mapping) or not layers or len(layers) > 8 * MOST_NAMES:
        raise BadInput(f"{WHERE}.quantized_layers", "missing or not an object of modules")
    by_scheme: dict[Scheme, dict[str, None]] = {}
    for name, recipe in layers.items():
        if not isinstance(recipe, Mapping):
            raise BadInput(f"{WHERE}.quantized_layers", f"{str(name)[:60]!r} is no object")
        scheme = _modelopt_scheme(str(recipe.get("quant_algo")).upper(), recipe)
        by_scheme.setdefault(scheme, {})[_one_expert(str(name))] = None
    order = Counter({scheme: len(names) for scheme, names in by_scheme.items()}).most_common()
    return tuple(
        LayerGroup(scheme=scheme, modules=module_names(f"{WHERE}.quantized_layers", list(by_scheme[scheme])))
        for scheme, _ in order
    )


def _one_expert(name: str) -> str:
    """All experts of a layer share an algorithm: name them by the first."""
    before, marker, after = name.partition(".experts.")
    number, dot, rest = after.partition(".")
    return f"{before}.experts.0{dot}{rest}" if marker and number.isdigit() else name


def compressed_tensors(stated: Mapping[str, object]) -> Quantisation:
    """compressed-tensors: ``config_groups`` with targets that are names, ``re:`` patterns or classes of modules."""
    stated_groups = stated.get("config_groups")
    if not isinstance(stated_groups, Mapping) or not 0 < len(stated_groups) <= MOST_GROUPS:
        raise BadInput(f"{WHERE}.config_groups", "missing or not an object", limit=f"1 to {MOST_GROUPS} groups")
    named: list[LayerGroup] = []
    broad: list[LayerGroup] = []
    head = False
    for _, group in sorted(stated_groups.items(), key=lambda item: str(item[0])):
        targets = _targets(group)
        if all(target.endswith("Attention") for target in targets):
            continue  # attention alone is the cache's scale, not a weight
        scheme = _compressed_scheme(group, str(group.get("format") or stated.get("format") or ""))
        classes = [target for target in targets if _is_class(target)]
        names = [target for target in targets if not _is_class(target)]
        if names:
            modules = module_names(f"{WHERE}.config_groups.targets", names)
            named.append(LayerGroup(scheme=scheme, modules=modules))
            head = head or modules.match("lm_head")
        if any("linear" in target.lower() for target in classes):
            broad.append(LayerGroup(scheme=scheme))
        elif any(target.endswith("Experts") or target == "FusedMoE" for target in classes):
            broad.insert(0, LayerGroup(scheme=scheme, experts_only=True))
    ignored = _names(stated, "ignore")
    head = head and not ignored.match("lm_head")
    return Quantisation(method="compressed-tensors", groups=(*named, *broad), ignored=ignored, head=head)


def _targets(group: object) -> list[str]:
    targets = group.get("targets") if isinstance(group, Mapping) else None
    if targets is None:
        return ["Linear"]
    if not isinstance(targets, list) or not targets or not all(isinstance(target, str) for target in targets):
        raise BadInput(f"{WHERE}.config_groups.targets", "missing or not a list of names")
    return [str(target) for target in targets]


def _is_class(target: str) -> bool:
    """True for the name of a class of modules (``Linear``), not of a module."""
    return not target.startswith("re:") and "." not in target and target[:1].isupper()


def _compressed_scheme(group: Mapping[str, object], form: str) -> Scheme:
    where = f"{WHERE}.config_groups.weights"
    weights = group.get("weights")
    if weights is None:
        return PLAIN  # only activations
    if not isinstance(weights, Mapping):
        raise BadInput(where, "not an object")
    bits, kind, strategy = weights.get("num_bits"), str(weights.get("type", "int")), str(weights.get("strategy"))
    if type(bits) is not int or (bits, kind) not in {(4, "int"), (8, "int"), (4, "float"), (8, "float")}:
        raise BadInput(where, f"num_bits {str(bits)[:40]} of type {kind[:40]}", limit="num_bits 4 or 8, int or float")
    if (form.startswith("float-") and kind == "int") or (
        form in {"int-quantized", "pack-quantized"} and kind == "float"
    ):
        raise BadInput(f"{WHERE}.format", f"{form!r} with weights of type {kind}")
    if kind == "float" and bits == 4:
        return _float4(where, weights, form, strategy)
    if strategy == "block":
        if kind != "float":
            raise BadInput(where, "blocks of integers are not modelled", way_out=WAY_OUT)
        return fp8_block(*_block(f"{where}.block_structure", weights.get("block_structure")))
    if strategy not in {"tensor", "channel", "group"}:
        raise BadInput(f"{where}.strategy", f"{strategy[:40]!r} is not modelled", way_out=WAY_OUT)
    return _compressed_rows(weights, bits, kind, strategy, form)


def _float4(where: str, weights: Mapping[str, object], form: str, strategy: str) -> Scheme:
    """NVFP4 (groups of 16, global scale) or MXFP4 (groups of 32)."""
    size = weights.get("group_size")
    if strategy == "tensor_group" and size == 16:
        return nvfp4(16)
    if strategy == "group" and size == 32:
        return MXFP4
    raise BadInput(
        where, f"4-bit floats ({form[:40]}) with strategy {strategy[:40]} and group_size {str(size)[:40]}",
        limit="tensor_group of 16 (NVFP4) or group of 32 (MXFP4)", way_out=WAY_OUT,
    )  # fmt: skip


def _compressed_rows(weights: Mapping[str, object], bits: int, kind: str, strategy: str, form: str) -> Scheme:
    """Scales per tensor, per row or per group of columns."""
    size = (
        _group_size(f"{WHERE}.config_groups.weights.group_size", weights.get("group_size"))
        if strategy == "group"
        else 0
    )
    if kind == "float":
        if strategy == "group":
            return (
                MXFP8 if size == 32 else Scheme(bits=8, kind="fp8", granularity="group", scale_bytes=4, group_size=size)
            )
        return FP8_TENSOR if strategy == "tensor" else FP8_CHANNEL
    if bits == 8 and form in {"int-quantized", "naive-quantized"} and strategy != "group":
        return INT8_CHANNEL  # a scale per tensor is written out per row
    return integer(bits, size, zero_points=weights.get("symmetric") is False)


def _bits(stated: Mapping[str, object]) -> int:
    bits = stated.get("bits", stated.get("w_bit"))
    if type(bits) is not int or bits not in (4, 8):
        raise BadInput(f"{WHERE}.bits", f"{str(bits)[:40]!r}", limit="4 or 8")
    return bits


def _group(stated: Mapping[str, object]) -> int:
    return _group_size(f"{WHERE}.group_size", stated.get("group_size", stated.get("q_group_size", 128)))


def _group_size(where: str, size: object) -> int:
    """Return columns per scale, 0 for whole rows."""
    if type(size) is not int or not (size == -1 or 8 <= size <= 4096):
        raise BadInput(where, f"{str(size)[:40]!r}", limit="8 to 4096, or -1 for whole rows")
    return max(size, 0)


def _block(where: str, stated: object) -> tuple[int, int]:
    """Return the rows and columns that one scale covers."""
    if isinstance(stated, list) and len(stated) == 2 and all(type(b) is int and 0 < b <= 1 << 20 for b in stated):
        return stated[0], stated[1]
    raise BadInput(where, f"{str(stated)[:40]}", limit="two positive whole numbers")


def _with_encoders(ignored: ModuleNames) -> ModuleNames:
    return replace(ignored, entries=(*ignored.entries, *ENCODER_MODULES))


def _names(stated: Mapping[str, object], *keys: str, reading: str = "names") -> ModuleNames:
    """Read the first of ``keys`` that is not empty as a list of modules."""
    key = next((key for key in keys if stated.get(key)), keys[0])
    return module_names(f"{WHERE}.{key}", stated.get(key), reading="parts" if reading == "parts" else "names")
