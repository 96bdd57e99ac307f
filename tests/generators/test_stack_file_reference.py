"""The reference of stack-file keys: generated, complete, with examples that the parser takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.config import settings_from_file
from infra.program import plan_for
from infra.settings.schema import LAYER_MODELS, LAYERS, config_key, schema
from infra.settings.serving import ServingSettings
from tools.generators import stack_file_reference as reference

KEYS = [
    (f"{path}.{key}" if path else key, key, value)
    for layer in LAYERS
    for path, definition in reference.mappings(layer)
    for key, value in definition["properties"].items()
]


def stated_keys(value: Any) -> set[str]:
    """Return every key of a document, however deep."""
    if isinstance(value, dict):
        return set(value).union(*(stated_keys(inner) for inner in value.values()))
    return set().union(*(stated_keys(inner) for inner in value)) if isinstance(value, list) else set()


def test_the_reference_of_keys_is_what_the_settings_say() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.page(), "run `make docs`"


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, _, value in KEYS], ids=[path for path, *_ in KEYS])
def test_every_key_of_a_stack_file_says_what_it_does(path: str, value: dict[str, Any]) -> None:
    assert reference.effect(value), f"{path}: write Field(description=...), or a docstring of the mapping"


def test_a_key_without_a_description_is_noticed() -> None:
    assert not reference.effect({"type": "integer", "minimum": 1})


def test_every_mapping_and_every_key_of_the_schema_is_on_the_page() -> None:
    page = reference.PAGE.read_text(encoding="utf-8")
    names = {key for definition in schema()["$defs"].values() for key in definition["properties"]}
    assert names == {key for _, key, _ in KEYS}
    assert [name for name in sorted(names) if f"| `{name}` |" not in page] == []
    top = {
        config_key(field.alias or name) for model in LAYER_MODELS.values() for name, field in model.model_fields.items()
    }
    assert top <= names


@pytest.mark.parametrize("example", sorted(reference.EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_is_taken_by_the_parser_and_by_the_schema(example: Path) -> None:
    settings = settings_from_file(example)
    assert settings.layer == example.stem.partition("-")[0]
    jsonschema.validate(yaml.safe_load(example.read_text(encoding="utf-8")), schema())


@pytest.mark.parametrize("size", ["minimal", "full"])
def test_an_example_of_the_serving_layer_can_be_planned(size: str) -> None:
    settings = settings_from_file(reference.EXAMPLES / f"serving-{size}.yaml")
    assert isinstance(settings, ServingSettings)
    assert [model.name for model in plan_for(settings, size).models] == [entry.name for entry in settings.models]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_full_example_states_every_key_of_its_layer(layer: str) -> None:
    document = yaml.safe_load((reference.EXAMPLES / f"{layer}-full.yaml").read_text(encoding="utf-8"))
    keys = {key for _, definition in reference.mappings(layer) for key in definition["properties"]}
    assert stated_keys(document["config"]) == keys


@pytest.mark.parametrize("layer", LAYERS)
def test_the_minimal_example_states_required_keys_only(layer: str) -> None:
    document = yaml.safe_load((reference.EXAMPLES / f"{layer}-minimal.yaml").read_text(encoding="utf-8"))
    _, top = next(reference.mappings(layer))
    assert set(document["config"]) == set(top["required"])


def test_no_angle_bracket_of_a_table_is_taken_for_a_tag() -> None:
    rows = [line for line in reference.page().splitlines() if line.startswith("|")]
    assert [row for row in rows if "<" in row] == []
