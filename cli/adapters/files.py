"""JSON files that the user names: bounded in size, never a device, one precise line when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MIB = 2**20


def read_json_object(path: Path, where: str, *, limit_bytes: int) -> Mapping[str, Any]:
    """Return the object in ``path``; BadInput when it is no regular file, too large, or not a JSON object."""
    from sizing.errors import BadInput

    try:
        if not path.is_file():
            raise BadInput(where, f"{path} is not a file")
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        raise BadInput(where, f"cannot read {path}: {error.strerror or error}") from error
    return parse_json_object(content, f"{where}: {path}", limit_bytes=limit_bytes)


def parse_json_object(content: bytes, where: str, *, limit_bytes: int) -> Mapping[str, Any]:
    """Return the JSON object in ``content``; BadInput when it is too large, malformed, nested too deep or no object."""
    from sizing.errors import BadInput

    if len(content) > limit_bytes:
        raise BadInput(where, "the file is too large", limit=f"{limit_bytes / MIB:g} MiB")
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise BadInput(where, "the JSON is nested too deep") from error
    except ValueError as error:
        raise BadInput(where, f"not valid JSON: {error}"[:300]) from error
    if not isinstance(found, dict):
        raise BadInput(where, f"expected a JSON object, found {type(found).__name__}")
    return found


def _refuse_constant(name: str) -> float:
    msg = f"{name} is not a number"
    raise ValueError(msg)
