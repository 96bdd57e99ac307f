"""Models that embed or rank: no sampler, no cache where attention looks both ways, heads in float32."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.errors import BadInput, TonnageError
from sizing.models.families import embedding, encoders
from tests.support.published import any_values, described, loaded_gib, measured_config, oracle_config

BGE = oracle_config("BAAI--bge-m3")
QWEN = measured_config("Qwen--Qwen3-Embedding-8B")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("BAAI--bge-m3", 566_705_152),
        ("BAAI--bge-large-en-v1.5", 334_092_288),
        ("nomic-ai--nomic-embed-text-v1.5", 136_731_648),
        ("sentence-transformers--all-roberta-large-v1", 354_310_144),
    ],
)
def test_parameters_are_those_of_the_published_model_and_nothing_is_cached(name, parameters):
    model = described(oracle_config(name))
    assert (model.parameters, model.kv_groups, model.generates) == (parameters, (), False)


def test_a_decoder_that_embeds_keeps_its_cache_and_loads_no_head():
    model = described(dict(embedding.served_as_embedding(QWEN)))
    assert (model.architecture, model.generates, model.kv_bytes_per_token()) == ("Qwen3Model", False, 147_456)
    assert loaded_gib(model) == pytest.approx(14.1062, rel=0.001)
    assert described(QWEN).weight_bytes() - model.weight_bytes() == 151_680 * 4096 * 2


def test_a_decoder_that_ranks_has_a_score_in_float32():
    scored = described(QWEN, architectures=["Qwen3ForSequenceClassification"], num_labels=1)
    embeds = described(QWEN, architectures=["Qwen3Model"])
    assert scored.weight_bytes() - embeds.weight_bytes() == 4096 * 4


def test_a_decoder_that_looks_both_ways_keeps_no_cache():
    assert described(QWEN, architectures=["Qwen3Model"], use_bidirectional_attention=True).kv_groups == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"type_vocab_size": -1}, "type_vocab_size"),
        ({"num_key_value_heads": 4}, "num_key_value_heads"),
        ({"architectures": ["XLMRobertaForSequenceClassification"], "id2label": "one"}, "id2label"),
        ({"max_position_embeddings": None}, "max_position_embeddings"),
    ],
)
def test_what_is_mistyped_or_absurd_is_refused_by_name(changes, says):
    with pytest.raises(BadInput, match=says):
        described(BGE, **changes)


@given(st.sampled_from([*encoders.ARCHITECTURES, *embedding.ARCHITECTURES]), any_values([*BGE, "id2label", "n_embd"]))
def test_any_change_of_a_field_gives_a_model_or_a_refusal(architecture, changes):
    with contextlib.suppress(TonnageError):
        assert described(BGE, **{**changes, "architectures": [architecture]}).weight_bytes() > 0
