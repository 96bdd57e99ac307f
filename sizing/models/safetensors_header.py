"""The header of a safetensors file: names, types, shapes and places of its tensors, with every inconsistency refused.

A file is eight bytes (length of the header, little endian), the header (a JSON object) and the tensors, which must
follow each other without gap or overlap up to the end. Only the header is read. Time and memory are bounded by its
length, which is limited. Format: https://github.com/huggingface/safetensors (100 MB is its own limit).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from sizing.errors import BadInput

LENGTH_BYTES = 8
HEADER_LIMIT_BYTES = 32_000_000
"""A header this long would name 300,000 tensors; the largest published checkpoints have 10,000 a file."""
LONGEST_NAME = 1000
MOST_DIMENSIONS = 16
MOST_ELEMENTS = 1 << 50

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of one element of every type of the format."""
WAY_OUT = "download the file again"


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor: ``dtype`` as the format names it, ``shape``, and ``size_bytes`` in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size_bytes: int

    @property
    def elements(self) -> int:
        """Stored elements; a packed integer counts once."""
        return math.prod(self.shape)


def header_length(where: str, start: bytes, file_bytes: int) -> int:
    """Return the length of the header from the first eight bytes of a file of ``file_bytes``."""
    if start.startswith(b"version "):
        raise BadInput("checkpoint", f"{where} is a pointer of Git LFS, not the weights", way_out="git lfs pull")
    if len(start) < LENGTH_BYTES:
        raise BadInput("checkpoint", f"{where} is cut: {file_bytes} bytes", way_out=WAY_OUT)
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length > HEADER_LIMIT_BYTES:
        limit = f"{HEADER_LIMIT_BYTES} bytes"
        raise BadInput("checkpoint", f"{where} states a header of {length} bytes", limit=limit, way_out=WAY_OUT)
    if length + LENGTH_BYTES > file_bytes:
        problem = f"{where} is cut: a header of {length} bytes in a file of {file_bytes}"
        raise BadInput("checkpoint", problem, way_out=WAY_OUT)
    return length


def parse_header(where: str, header: bytes, data_bytes: int) -> tuple[Tensor, ...]:
    """Return the tensors that ``header`` names; BadInput where it disagrees with the ``data_bytes`` after it."""
    document = _json_object(where, header)
    found: list[tuple[int, int, Tensor]] = []
    for name, entry in document.items():
        if name == "__metadata__":
            continue
        found.append(_tensor(where, name, entry))
    found.sort(key=lambda one: one[:2])
    reached = 0
    for begin, end, tensor in found:
        if begin != reached:
            lie = "overlaps the one before" if begin < reached else "leaves a gap before it"
            raise BadInput("checkpoint", f"{where}: the place of {tensor.name[:80]!r} {lie}", way_out=WAY_OUT)
        reached = end
    if reached != data_bytes:
        lie = "is cut" if reached > data_bytes else "is longer than its header says"
        raise BadInput("checkpoint", f"{where} {lie}: tensors of {reached} bytes, {data_bytes} there", way_out=WAY_OUT)
    return tuple(tensor for _, _, tensor in found)


def _json_object(where: str, header: bytes) -> Mapping[str, object]:
    try:
        document = json.loads(header)
    except RecursionError:
        raise BadInput("checkpoint", f"the header of {where} is nested too deeply", way_out=WAY_OUT) from None
    except ValueError:
        raise BadInput("checkpoint", f"the header of {where} is not JSON", way_out=WAY_OUT) from None
    if not isinstance(document, dict):
        raise BadInput("checkpoint", f"the header of {where} holds no JSON object", way_out=WAY_OUT)
    return document


def _tensor(where: str, name: str, entry: object) -> tuple[int, int, Tensor]:
    """Return begin, end and description of one entry of the header."""
    shown = f"{where}: the tensor {name[:80]!r}"
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise BadInput("checkpoint", f"{shown} has no readable name", limit=f"{LONGEST_NAME} printable characters")
    if not isinstance(entry, dict):
        raise BadInput("checkpoint", f"{shown} is not described by an object")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise BadInput("checkpoint", f"{shown} has the unknown type {str(dtype)[:40]!r}", limit=", ".join(BITS))
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS or not all(map(_is_size, shape)):
        raise BadInput("checkpoint", f"{shown} has the impossible shape {str(shape)[:60]}", way_out=WAY_OUT)
    elements = math.prod(shape)
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)) or offsets[0] > offsets[1]:
        raise BadInput("checkpoint", f"{shown} has the impossible place {str(offsets)[:60]}", way_out=WAY_OUT)
    begin, end = offsets
    if elements > MOST_ELEMENTS or elements * BITS[dtype] != (end - begin) * 8:
        raise BadInput(
            "checkpoint", f"{shown} of {dtype} {str(shape)[:60]} does not fill its {end - begin} bytes", way_out=WAY_OUT
        )
    return begin, end, Tensor(name=name, dtype=dtype, shape=tuple(shape), size_bytes=end - begin)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST_ELEMENTS
