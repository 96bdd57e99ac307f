"""How a checkpoint stores its linear layers: bytes of a matrix with scales and zero points.

Read from ``quantization_config``. Known: none, fp8 (per tensor, per channel, per block), AWQ and GPTQ
integers with groups, compressed-tensors (float-quantized, int-quantized, pack-quantized). Embeddings, norms,
gates and the head stay in the model's type unless the checkpoint says otherwise. Anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from sizing.errors import BadInput

SAFE_PATTERN = re.compile(r"[\w.^$*\\-]{1,200}")
"""Ignore patterns that can be turned into a glob; others could take unbounded time."""


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """Storage of the quantised linear layers; ``bits`` 16 means not quantised."""

    method: str
    bits: int = 16
    scale_bytes: int = 0
    """Bytes of one scale."""
    granularity: str = "none"
    """none, tensor, channel, group or block: what one scale covers."""
    group_size: int = 0
    block_rows: int = 0
    block_columns: int = 0
    zero_points: bool = False
    ignored: tuple[str, ...] = ()
    """Globs over module paths that stay in the model's type."""

    def skips(self, path: str) -> bool:
        """True when the checkpoint leaves the module at ``path`` alone."""
        return any(fnmatchcase(path, glob) for glob in self.ignored)


NONE = Quantisation(method="none")


def group_bytes(
    quantisation: Quantisation | None,
    dtype_bytes: int,
    *,
    rows: int,
    columns: int,
    count: int,
    layers: Sequence[int],
    path: str,
) -> int:
    """Bytes of a ``rows`` x ``columns`` matrix, ``count`` times in each of ``layers``, as loaded on one rank."""
    plain = rows * columns * dtype_bytes
    if quantisation is None or quantisation.bits == 16:
        return plain * count * len(layers)
    stored = _stored(quantisation, rows, columns)
    if not quantisation.ignored or "{i}" not in path:
        kept = quantisation.skips(path)
        return (plain if kept else stored) * count * len(layers)
    return sum(plain if quantisation.skips(path.replace("{i}", str(i))) else stored for i in layers) * count


def _stored(quantisation: Quantisation, rows: int, columns: int) -> int:
    elements = rows * columns
    weight = elements * quantisation.bits // 8
    if quantisation.granularity == "tensor":
        return weight + 2 * quantisation.scale_bytes
    if quantisation.granularity == "channel":
        return weight + rows * quantisation.scale_bytes
    if quantisation.granularity == "block":
        blocks = -(-rows // quantisation.block_rows) * -(-columns // quantisation.block_columns)
        return weight + blocks * quantisation.scale_bytes
    groups = elements // max(quantisation.group_size, 1) if quantisation.group_size > 0 else rows
    zeros = groups * quantisation.bits // 8 if quantisation.zero_points else 0
    return weight + groups * quantisation.scale_bytes + zeros


def quantisation_of(config: Mapping[str, object]) -> Quantisation:
    """Read ``quantization_config`` (or its absence); BadInput for a method or a form that is not modelled."""
    stated = config.get("quantization_config")
    if stated is None:
        return NONE
    if not isinstance(stated, Mapping):
        raise BadInput("quantization_config", f"expected an object, got {type(stated).__name__}")
    method = stated.get("quant_method")
    reader = {
        "fp8": _fp8,
        "fbgemm_fp8": _fbgemm,
        "awq": _integer_groups,
        "gptq": _integer_groups,
        "compressed-tensors": _compressed,
        "modelopt": _modelopt,
    }.get(str(method))
    if reader is None:
        raise BadInput(
            "quantization_config.quant_method",
            f"{method!r} is not modelled",
            limit="fp8, awq, gptq, compressed-tensors, modelopt (FP8)",
            way_out="supply the weights per GPU with --weights-gib and leave quantization_config out",
        )
    return reader(stated)


def _fp8(stated: Mapping[str, object]) -> Quantisation:
    ignored = _globs(stated.get("modules_to_not_convert") or stated.get("ignored_layers"))
    block = stated.get("weight_block_size")
    if block is None:
        return Quantisation(method="fp8", bits=8, scale_bytes=4, granularity="tensor", ignored=ignored)
    rows, columns = _block("quantization_config.weight_block_size", block)
    return Quantisation(
        method="fp8",
        bits=8,
        scale_bytes=4,
        granularity="block",
        block_rows=rows,
        block_columns=columns,
        ignored=ignored,
    )


def _block(where: str, stated: object) -> tuple[int, int]:
    """Return the rows and columns that one scale covers."""
    if isinstance(stated, list) and len(stated) == 2 and all(type(b) is int and 0 < b <= 1 << 20 for b in stated):
        return stated[0], stated[1]
    raise BadInput(where, f"{str(stated)[:40]}", limit="two positive whole numbers")


def _fbgemm(stated: Mapping[str, object]) -> Quantisation:
    ignored = _globs(stated.get("modules_to_not_convert"))
    return Quantisation(method="fbgemm_fp8", bits=8, scale_bytes=4, granularity="channel", ignored=ignored)


def _modelopt(stated: Mapping[str, object]) -> Quantisation:
    if str(stated.get("quant_algo", "FP8")).upper() != "FP8":
        raise BadInput("quantization_config.quant_algo", f"{stated.get('quant_algo')!r} is not modelled", limit="FP8")
    ignored = _globs(stated.get("ignore") or stated.get("exclude_modules"))
    return Quantisation(method="modelopt", bits=8, scale_bytes=4, granularity="tensor", ignored=ignored)


def _integer_groups(stated: Mapping[str, object]) -> Quantisation:
    method = str(stated["quant_method"])
    bits = stated.get("bits", stated.get("w_bit"))
    group = stated.get("group_size", stated.get("q_group_size", 128))
    if bits not in (4, 8):
        raise BadInput("quantization_config.bits", f"{bits!r}", limit="4 or 8")
    if not isinstance(group, int) or isinstance(group, bool) or not (group == -1 or 8 <= group <= 4096):
        raise BadInput("quantization_config.group_size", f"{group!r}", limit="8 to 4096, or -1 for whole rows")
    ignored = _globs(stated.get("modules_to_not_convert"))
    return Quantisation(
        method=method, bits=4 if bits == 4 else 8, scale_bytes=2, granularity="group", group_size=max(group, 0),
        zero_points=method == "awq" or stated.get("sym") is False, ignored=ignored,
    )  # fmt: skip


def _compressed(stated: Mapping[str, object]) -> Quantisation:
    groups = stated.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) != 1:
        raise BadInput("quantization_config.config_groups", "only one group of layers is modelled")
    group = next(iter(groups.values()))
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping) or weights.get("num_bits") not in (4, 8):
        raise BadInput("quantization_config.config_groups.weights", "num_bits must be 4 or 8")
    if weights["num_bits"] == 4 and weights.get("type") == "float":
        raise BadInput("quantization_config.config_groups.weights", "4-bit floats are not modelled")
    strategy = str(weights.get("strategy"))
    if strategy not in {"tensor", "channel", "group", "block"}:
        raise BadInput("quantization_config.config_groups.weights.strategy", f"{strategy!r} is not modelled")
    size, where = weights.get("group_size"), "quantization_config.config_groups.weights.block_structure"
    block = _block(where, weights.get("block_structure")) if strategy == "block" else (0, 0)
    return Quantisation(
        method="compressed-tensors", bits=4 if weights["num_bits"] == 4 else 8, granularity=strategy,
        scale_bytes=4 if strategy in {"tensor", "block", "channel"} else 2,
        group_size=size if isinstance(size, int) and size > 0 else 0,
        block_rows=block[0], block_columns=block[1],
        zero_points=weights.get("symmetric") is False, ignored=_globs(stated.get("ignore")),
    )  # fmt: skip


def _globs(stated: object) -> tuple[str, ...]:
    """Turn a checkpoint's ignore list (module paths, or ``re:`` patterns) into globs over module paths."""
    if stated is None:
        return ()
    if not isinstance(stated, Sequence) or isinstance(stated, str) or len(stated) > 20_000:
        raise BadInput("quantization_config", "its list of unquantised modules is not a list of names")
    out: list[str] = []
    for entry in stated:
        if not isinstance(entry, str) or not SAFE_PATTERN.fullmatch(entry.removeprefix("re:")):
            raise BadInput(
                "quantization_config", f"the unquantised module {str(entry)[:60]!r} cannot be read",
                way_out="supply the weights per GPU with --weights-gib",
            )  # fmt: skip
        text = entry.removeprefix("re:")
        if entry.startswith("re:"):
            text = text.replace(".*", "*").replace("\\.", ".").strip("^$")
        out.extend((text, text + ".*"))
    return tuple(out)


def kv_cache_dtype_of(config: Mapping[str, object]) -> str:
    """Return fp8 where the checkpoint itself switches the cache to fp8, as vLLM then does unasked; else auto."""
    stated = config.get("quantization_config")
    if not isinstance(stated, Mapping):
        return "auto"
    if str(stated.get("kv_cache_quant_algo", "")).upper() == "FP8" or stated.get("kv_cache_scheme"):
        return "fp8"
    return "auto"
