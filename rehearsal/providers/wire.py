"""Conversion of property values between the engine's protocol and plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2
from google.protobuf.json_format import MessageToDict

SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's mark of a secret, public
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
UNKNOWNS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""Placeholders of the protocol for values that are not known during preview, and its marks for special values."""


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return plain values: whole numbers as int, secrets unwrapped, resource references as their id."""
    values = _plain(MessageToDict(struct))
    return values if isinstance(values, dict) else {}


def to_struct(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Return plain values as the protocol encodes them."""
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def has_unknown(value: object) -> bool:
    """Tell whether any part of ``value`` is unknown during preview."""
    if isinstance(value, Mapping):
        return any(has_unknown(part) for part in value.values())
    if isinstance(value, list):
        return any(has_unknown(part) for part in value)
    return isinstance(value, str) and value in UNKNOWNS


def changed_keys(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> list[str]:
    """Return the dotted paths that differ, sorted; lists are compared as a whole."""
    paths: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            paths += changed_keys(before, after, f"{prefix}{key}.")
        else:
            paths.append(f"{prefix}{key}")
    return paths


def _plain(value: object) -> object:
    if isinstance(value, dict):
        signature = value.get(SIGNATURE)
        if signature == SECRET:
            return _plain(value.get("value"))
        if signature == RESOURCE:
            return value.get("id") or value.get("urn")
        return {key: _plain(part) for key, part in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
