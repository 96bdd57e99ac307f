"""Whisper: parameters, the cache of the encoder's output, what was measured, refusals."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given

from sizing.errors import BadInput, TonnageError
from tests.support.published import any_values, described, loaded_gib, measured_config, oracle_config

LARGE = measured_config("openai--whisper-large-v3")


def test_parameters_are_those_of_the_published_models_with_the_biases_of_k_that_vllm_adds():
    assert described(LARGE).parameters == 1_543_490_560 + (32 + 2 * 32) * 1280
    turbo = described(oracle_config("openai--whisper-large-v3-turbo"))
    assert turbo.parameters == 808_878_080 + (32 + 2 * 4) * 1280


def test_the_encoders_output_is_cached_once_for_each_request():
    growing, cross = described(LARGE).kv_groups
    assert (growing.kind, cross.kind, cross.window) == ("full", "cross", 1500)
    assert growing.token_bytes(2) == cross.token_bytes(2) == 2 * 1280 * 2


def test_a_rank_loads_what_was_measured():
    assert loaded_gib(described(LARGE)) == pytest.approx(2.8764, rel=0.001)


@pytest.mark.parametrize("field", ["d_model", "decoder_layers", "decoder_attention_heads", "num_mel_bins"])
@pytest.mark.parametrize("value", [None, -1, True, "20", 10**9])
def test_what_is_missing_mistyped_or_absurd_is_refused_by_name(field, value):
    with pytest.raises(BadInput, match=field):
        described(LARGE, **{field: value})


@given(any_values([*LARGE]))
def test_any_change_of_a_field_gives_a_model_or_a_refusal(changes):
    with contextlib.suppress(TonnageError):
        assert described(LARGE, **changes).weight_bytes() > 0
