"""Reads the traces that workloads name: files next to the stack file, limited in size, never a device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sizing.errors import BadInput
from sizing.workload.trace import MOST_BYTES, parse_trace, with_trace

MIB = 2**20
MOST_NAME = 255
"""Bytes of a name in the file systems that are in use."""


def with_trace_figures(workload: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """Return ``workload`` with the figures of the trace that it names; BadInput starts with ``where``."""
    name = workload["trace"]
    if isinstance(name, str) and len(name) > MOST_NAME:
        raise BadInput(where, f"a name of {len(name)} characters", limit=f"{MOST_NAME}")
    if not isinstance(name, str) or not name:
        raise BadInput(where, f"{str(name)[:60]!r} is no file name", way_out="name a file beside the stack file")
    try:
        trace = parse_trace(_text(folder / name, name), name)
    except BadInput as error:
        raise BadInput(f"{where}: {error.where}", error.problem, limit=error.limit, way_out=error.way_out) from None
    declared = {key: value for key, value in workload.items() if key != "trace"}
    return with_trace(declared, trace, name)


def _text(path: Path, name: str) -> str:
    try:
        if not path.is_file():
            way_out = "a trace is named relative to the stack file, that of --trace to the working directory"
            raise BadInput(name, "is not a file", way_out=way_out)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadInput(name, f"cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise BadInput(name, "is too large", limit=f"{MOST_BYTES // MIB} MiB", way_out="cut it to its busiest days")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(name, "is not UTF-8 text") from None
