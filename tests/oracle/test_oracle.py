"""What sizing says against what vLLM's own classes answered (recorded by record.py, which no test needs)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from sizing.engine.versions import version_rules
from sizing.memory.kv_cache import cache_layout, capacity_tokens
from sizing.models.families import REGISTRY
from sizing.models.families.embedding import served_as_embedding
from sizing.models.from_config import model_from_config
from sizing.models.parallelism import pipeline_stages
from sizing.models.spec import ModelSpec
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings

HERE = Path(__file__).resolve().parent
CATALOGUE = HERE.parent.parent / "sizing" / "catalogue" / "models"
VERSION = "0.32.0"
TOLERANCE = 0.005
NOT_MODELLED = {
    "InternVLForConditionalGeneration": "refused by name",
    "KimiK3ForConditionalGeneration": "refused by name",
}
"""Architectures with an answer that sizing has no family for; exact, so that a new family must leave this table."""
REFUSED_BY_VLLM = {
    "ibm-ai-platform--Bamba-9B-v2": "no class of its own, and its layers do not fit the Transformers back end",
    "meta-llama--Llama-3.2-11B-Vision-Instruct": "no class of its own; the Transformers back end wants a processor",
    "mosaicml--mpt-7b": "dropped after 0.28.0",
    "unsloth--Meta-Llama-3.1-8B-Instruct-bnb-4bit": "no bitsandbytes among its quantisation methods",
}


@cache
def recorded() -> dict[str, dict[str, Any]]:
    """Answers by model, refusals too."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((HERE / "recorded").glob("*.json"))}


@cache
def configuration(name: str) -> dict[str, Any]:
    own = HERE / "configs" / f"{name}.json"
    document = json.loads((own if own.exists() else CATALOGUE / f"{name}.json").read_text())
    quantisation = document.get("files", {}).get("hf_quant_config.json")
    config = {**document["config"], **({"quantization_config": quantisation} if quantisation else {})}
    pools = document.get("model_options", {}).get("runner") == "pooling"
    return dict(served_as_embedding(config)) if pools else config


def architecture(name: str) -> str:
    return configuration(name)["architectures"][0]


@cache
def spec(name: str) -> ModelSpec:
    return model_from_config(configuration(name), name=name.replace("--", "/", 1))


BUILT = [name for name in recorded() if "refused" not in recorded()[name]]
MODELLED = [name for name in BUILT if architecture(name) in REGISTRY]


def cases(kind: str, found: Iterable[tuple[str, Any]]) -> list[Any]:
    """Parameters of a test with a readable name."""
    return [pytest.param(name.partition(" ")[0], row, id=f"{kind} {name}") for name, row in found]


def whole(model: ModelSpec) -> Stage:
    return Stage(first=0, layers=model.num_layers, of=model.num_layers)


def settings(row: dict[str, Any]) -> EngineSettings:
    """Settings under which vLLM gave this row."""
    return EngineSettings(
        vllm_version=VERSION, tensor_parallel=row["tp"], pipeline_parallel=1, max_model_len=row["max_model_len"],
        max_num_seqs=256, max_num_batched_tokens=8192, gpu_memory_utilization=0.9,
        kv_cache_dtype=row["kv_cache_dtype"], enforce_eager=True, dtype="bfloat16",
        enable_prefix_caching=row["prefix_caching"],
    )  # fmt: skip


def test_at_least_sixty_classes_are_recorded():
    assert len({architecture(name) for name in BUILT}) >= 60


def test_every_configuration_has_an_answer_of_the_same_vllm():
    asked = {path.stem for folder in (HERE / "configs", CATALOGUE) for path in folder.glob("*.json")}
    assert asked == recorded().keys()
    assert {answer["vllm"] for answer in recorded().values()} == {VERSION}


def test_what_is_not_modelled_is_listed_exactly():
    assert {architecture(name) for name in BUILT} - REGISTRY.keys() == NOT_MODELLED.keys()


def test_what_vllm_refuses_is_listed_exactly():
    assert recorded().keys() - set(BUILT) == REFUSED_BY_VLLM.keys()


@pytest.mark.parametrize(("name", "ranks"), cases("weights", ((n, recorded()[n]["ranks"]) for n in MODELLED)))
def test_weights_of_every_rank_are_those_of_vllm(name, ranks):
    for size, rank in ranks.items():
        if "refused" not in rank:
            found = spec(name).weight_bytes(tensor_parallel=int(size))
            assert found == pytest.approx(rank["parameter_bytes"], rel=TOLERANCE), f"TP {size}"


@pytest.mark.parametrize(
    ("name", "rows"), cases("stages", ((n, recorded()[n]["pipeline"]) for n in MODELLED if "pipeline" in recorded()[n]))
)
def test_weights_of_a_pipeline_stage_are_those_of_vllm(name, rows):
    model = spec(name)
    for row, stage in zip(rows, pipeline_stages(model.num_layers, len(rows)), strict=True):
        assert model.weight_bytes(stage=stage) == pytest.approx(row["parameter_bytes"], rel=TOLERANCE)


@pytest.mark.parametrize(
    ("name", "rows"),
    cases("experts", ((n, recorded()[n]["expert_parallel"]) for n in MODELLED if "expert_parallel" in recorded()[n])),
)
def test_weights_with_whole_experts_on_a_rank_are_those_of_vllm(name, rows):
    for row in rows:
        found = spec(name).weight_bytes(tensor_parallel=row["tp"], expert_parallel=row["tp"])
        assert found == pytest.approx(row["parameter_bytes"], rel=TOLERANCE)


def capacities() -> Iterable[tuple[str, Any]]:
    for name in MODELLED:
        for row in recorded()[name]["capacity"]:
            if row.get("groups"):
                prefixes = "cached" if row["prefix_caching"] else "uncached"
                yield f"{name} TP{row['tp']} {row['max_model_len']} {row['kv_cache_dtype']} {prefixes}", row


@pytest.mark.parametrize(("name", "row"), cases("cache", capacities()))
def test_groups_blocks_and_tokens_are_those_of_vllm(name, row):
    model, engine, rules = spec(name), settings(row), version_rules(VERSION)
    layout = cache_layout(model, engine, rules)
    assert layout.bytes_per_block(whole(model)) == row["bytes_per_block"]
    layers = sorted(sum(len(page.layers) for page in group.pages) for group in layout.groups)
    assert layers == sorted(group["layers"] for group in row["groups"])
    if "tokens" in row:
        assert capacity_tokens(layout, engine, rules, row["num_blocks"]) == row["tokens"]
