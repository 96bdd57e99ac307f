"""Llama 3.2 Vision: parameters, cross layers, what was measured, refusals."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given

from sizing.catalogue import load_catalogue
from sizing.engine.settings import resolve_engine
from sizing.errors import BadInput, TonnageError
from sizing.inputs import EngineOverrides
from sizing.memory.estimate import estimate_memory
from tests.support.published import any_values, described, loaded_gib, measured_config

LLAMA = measured_config("meta-llama--Llama-3.2-11B-Vision-Instruct")


def test_parameters_are_those_of_the_published_model():
    assert described(LLAMA).parameters == 10_670_220_835


def test_cross_layers_keep_the_image_and_the_others_every_token():
    own, cross = described(LLAMA).kv_groups
    assert (len(own.layers), cross.layers, cross.window) == (32, (3, 8, 13, 18, 23, 28, 33, 38), 4 * 1601)


def test_a_rank_loads_what_was_measured():
    assert loaded_gib(described(LLAMA), 2) == pytest.approx(10.0714, rel=0.01)


def test_a_version_that_dropped_the_architecture_refuses_it():
    model, gpu = described(LLAMA), load_catalogue().gpu("H100")
    kept = resolve_engine(model, gpu, EngineOverrides(vllm_version="0.10.2"))
    assert estimate_memory(model, gpu, kept).weights_gib > 19
    with pytest.raises(BadInput, match=r"use 0\.10\.2 or earlier"):
        estimate_memory(model, gpu, replace(kept, vllm_version="0.32.0"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vision_config": None}, "vision_config"),
        ({"text_config": {**LLAMA["text_config"], "cross_attention_layers": [3, 99]}}, "cross_attention_layers"),
        ({"vision_config": {**LLAMA["vision_config"], "supported_aspect_ratios": 8}}, "supported_aspect_ratios"),
        ({"vision_config": {**LLAMA["vision_config"], "num_global_layers": -1}}, "num_global_layers"),
    ],
)
def test_what_is_missing_mistyped_or_absurd_is_refused_by_name(changes, says):
    with pytest.raises(BadInput, match=says):
        described(LLAMA, **changes)


@given(any_values([*LLAMA["vision_config"]]), any_values([*LLAMA["text_config"]]))
def test_any_change_of_a_field_gives_a_model_or_a_refusal(seen, read):
    with contextlib.suppress(TonnageError):
        vision, text = {**LLAMA["vision_config"], **seen}, {**LLAMA["text_config"], **read}
        assert described(LLAMA, vision_config=vision, text_config=text).weight_bytes() > 0
