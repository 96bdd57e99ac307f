"""Recorded starts as cases: configurations with sources, the settings of a row, the split, what is left out."""

from __future__ import annotations

import json

import pytest

from benchmarks.memory.rows import (
    DATA,
    by_side,
    comparable_for,
    configurations,
    is_fitted,
    read_facts,
    source_of,
    version_of,
)
from sizing.errors import BadInput
from sizing.models.from_config import model_from_config
from tests.support.published import measured_starts

FACTS = {facts["id"]: facts for facts in read_facts()}
ROWS, LEFT_OUT = measured_starts()
BY_ID = {row.facts["id"]: row for row in ROWS}
WITHOUT_HEAD = ("Qwen/Qwen3-Embedding-8B",)
"""Embedding models: the shapes leave out the head that their config.json describes and vLLM does not load."""
COUNTED = ("dense-gqa", "moe", "mla")
"""Families whose shapes count every parameter (those of OPT leave out the learned positions)."""


def test_every_measured_model_has_a_configuration_that_says_where_it_is_from_and_what_is_not_confirmed():
    assert {facts["model"] for facts in FACTS.values()} == set(configurations())
    for document in configurations().values():
        assert document["source"]
        assert document["date"]
        assert document["verified"] in (True, "partly")
        assert bool(document.get("unverified")) == (document["verified"] == "partly"), document["model"]


def test_the_configurations_describe_as_many_parameters_as_the_shapes_of_the_same_models():
    shapes = json.loads((DATA / "model-shapes.json").read_text("utf-8"))["models"]
    compared = 0
    for facts in {facts["model"]: facts for facts in FACTS.values()}.values():
        stated = shapes[facts["model"]].get("computed_lm_parameters")
        if not stated or facts["family"] not in COUNTED:
            continue
        try:
            model = model_from_config(configurations()[facts["model"]]["config"], name=facts["model"])
        except BadInput:
            continue
        compared += 1
        error = abs(model.parameters / stated - 1)
        assert error < 0.003 or facts["model"] in WITHOUT_HEAD, (facts["model"], model.parameters, stated)
    assert compared > 30


def test_every_row_is_a_case_or_counted_with_its_reason():
    assert len(ROWS) + sum(LEFT_OUT.values()) == len(FACTS)
    assert all(reason.startswith(("left out: ", "refused: ")) for reason in LEFT_OUT)
    assert LEFT_OUT["left out: parts of the model in host memory"] >= 1


def test_no_source_stands_on_both_sides_of_a_family_and_both_sides_have_rows_where_there_are_two_sources():
    sides = {}
    for facts in FACTS.values():
        sides.setdefault((facts["family"], source_of(facts)), set()).add(is_fitted(facts))
    assert all(len(side) == 1 for side in sides.values())
    for family in {facts["family"] for facts in FACTS.values()}:
        found = [next(iter(side)) for (name, _), side in sides.items() if name == family]
        assert len(found) == 1 or set(found) == {True, False}, family


def test_the_side_that_is_reported_is_not_the_smaller_part_by_more_than_a_fifth():
    fitted, held = (sum(counts) for counts in zip(*by_side(ROWS).values(), strict=True))
    assert 0.4 <= held / (fitted + held) <= 0.6


def test_a_row_runs_with_the_settings_that_its_log_states():
    lora = BY_ID["qwen3-4b-rtx-4090-lora64-util080"]
    assert (lora.engine.max_loras, lora.engine.max_lora_rank, lora.engine.enable_prefix_caching) == (64, 16, False)
    assert lora.total_gib == 23.52
    online = BY_ID["qwen3-30b-a3b-instruct-2507-h100-80gb-sxm-tp1-0-22-1"]
    assert online.engine.gpu_memory_utilization == 0.92
    assert online.engine.max_num_seqs == 64
    assert online.estimate.weights_gib == pytest.approx(29.08, rel=0.01)


def test_a_start_of_v0_counts_for_weights_and_identities_of_the_cache_only():
    row = BY_ID["qwen2-5-7b-instruct-a10g-tp1-0-8-1"]
    assert row.facts["engine"] == "V0"
    assert row.usable("weights")
    assert not row.usable("fits-yes")
    assert row.engine.vllm_version == "0.6.0"


def test_what_depends_on_a_version_needs_one_that_is_stated():
    gpt = FACTS["gpt-oss-120b-h100-80gb-tp1"]
    assert version_of(gpt) is None
    assert comparable_for(gpt) == ("weights",)
    assert version_of(FACTS["qwen3-32b-h100-80gb-tp1-32k-fail"]) == "0.11"
