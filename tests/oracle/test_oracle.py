"""What sizing says against what vLLM's own classes answered (recorded by record.py, which no test needs)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sizing.engine import version_rules
from sizing.families import REGISTRY
from sizing.kv_cache import cache_layout, capacity_tokens
from sizing.model import ModelSpec, Stage, model_from_config, pipeline_stages
from sizing.plan import EngineSettings

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
    for row, stage in zip(recorded()[name]["pipeline"], pipeline_stages(spec(name).num_layers, 2), strict=True):
        assert spec(name).weight_bytes(stage=stage) == pytest.approx(row["parameter_bytes"], rel=TOLERANCE)


@pytest.mark.parametrize("name", [name for name in MODELLED if "expert_parallel" in recorded()[name]])
def test_weights_with_whole_experts_on_a_rank_are_those_of_vllm(name):
    for row in recorded()[name]["expert_parallel"]:
        found = spec(name).weight_bytes(tensor_parallel=row["tp"], expert_parallel=row["tp"])
        assert found == pytest.approx(row["parameter_bytes"], rel=TOLERANCE)


def settings(row: dict[str, Any]) -> EngineSettings:
    """Settings under which vLLM gave this row."""
    return EngineSettings(
        vllm_version="0.32.0", tensor_parallel=row["tp"], pipeline_parallel=1, max_model_len=row["max_model_len"],
        max_num_seqs=256, max_num_batched_tokens=8192, gpu_memory_utilization=0.9,
        kv_cache_dtype=row["kv_cache_dtype"], enforce_eager=True, dtype="bfloat16",
        enable_prefix_caching=row["prefix_caching"],
    )  # fmt: skip


CAPACITIES = [
    pytest.param(name, row, id=f"{name}-tp{row['tp']}-{row['max_model_len']}-{row['kv_cache_dtype']}")
    for name in MODELLED
    for row in recorded()[name]["capacity"]
    if row.get("groups")
]


@pytest.mark.parametrize(("name", "row"), CAPACITIES)
def test_groups_blocks_and_tokens_are_those_of_vllm(name, row):
    model, engine, rules = spec(name), settings(row), version_rules("0.32.0")
    layout = cache_layout(model, engine, rules)
    block = layout.bytes_per_block(Stage(first=0, layers=model.num_layers, of=model.num_layers))
    assert block == row["bytes_per_block"]
    layers = sorted(sum(len(page.layers) for page in group.pages) for group in layout.groups)
    assert layers == sorted(group["layers"] for group in row["groups"])
    if "tokens" in row:
        assert capacity_tokens(layout, engine, rules, row["num_blocks"]) == row["tokens"]
