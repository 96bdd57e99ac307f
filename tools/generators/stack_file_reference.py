"""Writes ``docs/reference/stack-file.md``: every key of a stack file, from the JSON schema of the settings.

``python -m tools.generators.stack_file_reference``; nothing on the page is written by hand but its introduction and the
examples in ``docs/reference/examples``. A mapping without a description of its own takes that of its class.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.config import form
from infra.settings.schema import LAYER_MODELS, LAYERS, schema

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "stack-file.md"
EXAMPLES = ROOT / "docs" / "reference" / "examples"
INTRODUCTION = """# Every key of a stack file

Written by `make docs` from the settings (`infra/settings/` and the types of `sizing/` that it holds); do not edit.
A stack file is `stacks/Pulumi.<stack>.yaml`. Its keys stand under `config:`, and `tonnage:layer` says which of two
documents it is: the [cluster layer](#layer-cluster) or the [serving layer](#layer-serving).
`stacks/settings.schema.json` holds the same keys for editors. A key that is not on this page is refused, and the error
names the nearest one; keys under `pulumi:` are the engine's own and left alone.

A dash as default means that nothing is set: the effect says what happens then. Under `engine` and `replicas` it means
that the planner decides, and the preview says why. Where *allowed* is empty, the type or the effect says it.
"""
TYPES: Mapping[str, str] = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
}


def page() -> str:
    """Return the page: introduction, smallest examples, a table of keys for each mapping, full examples."""
    parts = [INTRODUCTION, "## Smallest stack files\n", *(_example(layer, "minimal") for layer in LAYERS)]
    for layer in LAYERS:
        parts.append(f"## Layer `{layer}`\n")
        parts += [_section(path, definition) for path, definition in mappings(layer)]
    parts.append("## Stack files with every key\n")
    parts.append("They show the form of each key; most deployments state a few of them.\n")
    return "\n".join([*parts, *(_example(layer, "full") for layer in LAYERS)])


def mappings(layer: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return each mapping of a layer's document as (path, JSON schema), outer ones first; the document has no path."""
    yield from _below("", _definitions()[LAYER_MODELS[layer].__name__])


def effect(value: Mapping[str, Any]) -> str:
    """Return what a key does: its own description, else that of the mapping that it holds; empty without either."""
    inner = _inner(value)
    of_class = inner.get("description", "").rstrip(".") if inner else ""
    text = value.get("description") or of_class[:1].lower() + of_class[1:]
    return " ".join(text.split())


@functools.cache
def _definitions() -> Mapping[str, Any]:
    return schema()["$defs"]


def _below(path: str, definition: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield path, definition
    for key, value in definition["properties"].items():
        inner = _inner(value)
        if inner:
            yield from _below(_place(path, key, value), inner)


def _place(path: str, key: str, value: Mapping[str, Any]) -> str:
    return (f"{path}.{key}" if path else key) + ("[]" if _stated(value).get("type") == "array" else "")


def _stated(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of what may be written: without the null of an optional key."""
    return next((part for part in value.get("anyOf", ()) if part.get("type") != "null"), value)


def _inner(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the mapping that a key holds, alone or in a list."""
    stated = _stated(value)
    name = stated.get("$ref") or stated.get("items", {}).get("$ref")
    return _definitions()[name.rsplit("/", maxsplit=1)[-1]] if name else None


def _section(path: str, definition: Mapping[str, Any]) -> str:
    lines = [f"### `{path}`\n"] if path else []
    lines += [f"{definition['description'].replace('``', '`')}\n", "| key | type | default | allowed | effect |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for key, value in definition["properties"].items():
        cells = (f"`{key}`", _type(path, key, value), _default(key, value, definition), _allowed(value), effect(value))
        lines.append(f"| {' | '.join(cell.replace('<', '&lt;') for cell in cells)} |")
    return "\n".join([*lines, ""])


def _type(path: str, key: str, value: Mapping[str, Any]) -> str:
    stated = _stated(value)
    many = stated.get("type") == "array"
    if _inner(value):
        return f"{'list of ' if many else ''}[{'mappings' if many else 'mapping'}](#{anchor(_place(path, key, value))})"
    return f"list: {TYPES[stated['items']['type']]}" if many else TYPES[stated["type"]]


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _default(key: str, value: Mapping[str, Any], definition: Mapping[str, Any]) -> str:
    if key in definition.get("required", ()):
        return "**required**"
    for one, other in itertools.pairwise(definition.get("anyOf", ())):
        if key in one["required"]:
            return f"**required**, or `{other['required'][0]}`"
    default = value.get("default")
    if default is None or isinstance(default, dict):
        return "-" if default is None else "that of its keys"
    if isinstance(default, float):
        return f"`{_figure(default)}`"
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def _allowed(value: Mapping[str, Any]) -> str:
    stated = _stated(value)
    item = _one(stated.get("items", {}))
    found = [_counted(stated, "minItems", "maxItems", "entries"), _one(stated), f"each {item}" if item else ""]
    return "; ".join(text for text in found if text)


def _one(stated: Mapping[str, Any]) -> str:
    """Return what a single value may be."""
    if "const" in stated or "enum" in stated:
        return ", ".join(f"`{each}`" for each in stated.get("enum", [stated.get("const")]))
    if "pattern" in stated:
        return form(stated["pattern"])
    return _range(stated) or _counted(stated, "minLength", "maxLength", "characters")


def _range(stated: Mapping[str, Any]) -> str:
    least, above = stated.get("minimum"), stated.get("exclusiveMinimum")
    most, under = stated.get("maximum"), stated.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f"{_figure(least)} to {_figure(most)}"
    bounds = (("at least", least), ("above", above), ("at most", most), ("below", under))
    return ", ".join(f"{word} {_figure(bound)}" for word, bound in bounds if bound is not None)


def _counted(stated: Mapping[str, Any], least: str, most: str, what: str) -> str:
    if least in stated and most in stated:
        return f"{stated[least]} to {stated[most]} {what}"
    if least in stated:
        return "not empty" if stated[least] == 1 else f"at least {stated[least]} {what}"
    return f"at most {stated[most]} {what}" if most in stated else ""


def _figure(number: float) -> str:
    return f"{number:,.6f}".rstrip("0").rstrip(".")


def _example(layer: str, size: str) -> str:
    text = (EXAMPLES / f"{layer}-{size}.yaml").read_text(encoding="utf-8")
    return f"```yaml\n{text}```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
