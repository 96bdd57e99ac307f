"""Checks of component arguments at construction, before any resource is registered.

A string is a sequence of strings for every type checker, so lists given as a string are found here.
"""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from sizing.errors import BadInput


def require_list(where: str, value: object, *, at_least: int = 0, wired: bool = False) -> None:
    """Refuse anything but a list or tuple of distinct non-empty strings (or outputs, where ``wired``).

    Raises ``BadInput`` that names ``where``, the value and the way out.
    """
    if not isinstance(value, (list, tuple)):
        raise BadInput(
            where, f"{value!r} is {type(value).__name__}, not a list", way_out="write a list, also for one item"
        )
    for index, item in enumerate(value):
        require_text(f"{where}[{index}]", item, wired=wired)
    texts = [item for item in value if isinstance(item, str)]
    repeated = sorted({text for text in texts if texts.count(text) > 1})
    if repeated:
        raise BadInput(where, f"{', '.join(repeated)} is listed twice", way_out="list each item once")
    if len(value) < at_least:
        raise BadInput(where, f"{len(value)} items", limit=f"at least {at_least}")


def require_text(where: str, value: object, *, wired: bool = False) -> None:
    """Refuse anything but a non-empty string (or an output, where ``wired``)."""
    if wired and isinstance(value, pulumi.Output):
        return
    if not isinstance(value, str) or not value.strip():
        raise BadInput(where, f"{value!r} is not a non-empty string", way_out="give one name or id as text")


def require_number(where: str, value: object, *, at_least: int, at_most: int) -> None:
    """Refuse anything but a whole number within the limits."""
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= at_most:
        raise BadInput(where, f"{value!r} is not usable", limit=f"a whole number from {at_least} to {at_most}")


def require_tags(where: str, value: object) -> None:
    """Refuse tags that are not a mapping of text to text or that use the prefix of AWS."""
    if not isinstance(value, Mapping):
        raise BadInput(where, f"{value!r} is {type(value).__name__}, not a mapping", way_out="write key: value pairs")
    for key, text in value.items():
        require_text(f"{where}.{key}", text)
        if str(key).startswith("aws:"):
            raise BadInput(f"{where}.{key}", "keys that start with aws: are reserved", way_out="choose another key")
