"""What sizing says against what vLLM's own classes answered (recorded by record.py, which no test needs)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sizing.families import REGISTRY
from sizing.model import ModelSpec, Stage, model_from_config

HERE = Path(__file__).resolve().parent
CATALOGUE = HERE.parent.parent / "sizing" / "catalogue" / "models"
TOLERANCE = 0.005
NOT_MODELLED: dict[str, str] = {}
"""Architecture -> why sizing refuses it by name; exact, so that a new family must leave this table."""


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """Answers by model, without those that vLLM refused."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "recorded").glob("*.json"))}
    return {name: answer for name, answer in found.items() if "refused" not in answer}


@cache
def configuration(name: str) -> dict[str, Any]:
    own = HERE / "configs" / f"{name}.json"
    document = json.loads((own if own.exists() else CATALOGUE / f"{name}.json").read_text())
    quantisation = document.get("files", {}).get("hf_quant_config.json")
    return {**document["config"], **({"quantization_config": quantisation} if quantisation else {})}


def architecture(name: str) -> str:
    return configuration(name)["architectures"][0]


@cache
def spec(name: str) -> ModelSpec:
    return model_from_config(configuration(name), name=name.replace("--", "/", 1))


MODELLED = [name for name in recorded() if architecture(name) in REGISTRY]


def test_at_least_forty_classes_are_recorded():
    assert len({architecture(name) for name in recorded()}) >= 40


def test_every_configuration_has_an_answer():
    asked = {path.stem for folder in (HERE / "configs", CATALOGUE) for path in folder.glob("*.json")}
    assert asked == {path.stem for path in (HERE / "recorded").glob("*.json")}


def test_what_is_not_modelled_is_listed_exactly():
    assert {architecture(name) for name in recorded()} - REGISTRY.keys() == NOT_MODELLED.keys()


@pytest.mark.parametrize("name", MODELLED)
def test_weights_of_every_rank_are_those_of_vllm(name):
    for size, rank in recorded()[name]["ranks"].items():
        if "refused" not in rank:
            assert spec(name).weight_bytes(tensor_parallel=int(size)) == pytest.approx(
                rank["parameter_bytes"], rel=TOLERANCE
            ), f"TP {size}"


@pytest.mark.parametrize("name", [name for name in MODELLED if "pipeline" in recorded()[name]])
def test_weights_of_a_pipeline_stage_are_those_of_vllm(name):
    model = spec(name)
    half = model.num_layers // 2
    for rank, row in enumerate(recorded()[name]["pipeline"]):
        stage = Stage(first=rank * half, layers=half, of=model.num_layers)
        assert model.weight_bytes(stage=stage) == pytest.approx(row["parameter_bytes"], rel=TOLERANCE)
