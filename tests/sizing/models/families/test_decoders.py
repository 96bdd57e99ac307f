"""Dense decoders by their traits: published parameter counts, caches, refusals."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.errors import BadInput, TonnageError
from sizing.models.families.decoders import ARCHITECTURES
from sizing.models.parallelism import tensor_parallel_sizes
from tests.support.published import any_values, described, loaded_gib, measured_config, oracle_config

SEARCHED = oracle_config("nvidia--Llama-3_3-Nemotron-Super-49B-v1")
PUBLISHED = {
    "openai-community--gpt2": (124_439_808, 2 * 12 * 768 * 2),
    "facebook--opt-6.7b": (6_658_473_984, 524_288),
    "bigscience--bloom-7b1": (7_069_016_064, 491_520),
    "mosaicml--mpt-7b": (6_649_286_656, 524_288),
    "EleutherAI--pythia-6.9b": (6_857_302_016, 524_288),
    "tiiuae--falcon-7b-instruct": (6_921_720_704, 8_192),
    "zai-org--chatglm3-6b": (6_243_584_000, 28_672),
    "stabilityai--stablelm-2-1_6b": (1_644_515_328, 196_608),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_kv_bytes_are_those_of_the_published_model(name):
    model = described(oracle_config(name))
    assert (model.parameters, model.kv_bytes_per_token()) == PUBLISHED[name]


def test_one_kv_head_of_falcon_is_on_every_rank_and_its_71_heads_allow_no_split():
    model = described(oracle_config("tiiuae--falcon-7b-instruct"))
    assert (model.num_kv_heads, tensor_parallel_sizes(model, 8)) == (1, (1,))


def test_blocks_without_attention_keep_no_cache():
    model = described(SEARCHED)
    (group,) = model.kv_groups
    assert (model.parameters, len(group.layers), model.kv_bytes_per_token()) == (49_867_145_216, 49, 200_704)


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ({"attention": {"n_heads_in_group": 7}, "ffn": {"ffn_mult": 1.0}}, "n_heads_in_group"),
        ({"attention": {"no_op": True}, "ffn": {"ffn_mult": "1"}}, "ffn_mult"),
        ({"attention": {"replace_with_linear": True}, "ffn": {"ffn_mult": 1.0}}, "replace_with_linear"),
        ({"attention": None}, "attention"),
        ("block", "block_configs"),
    ],
)
def test_a_block_that_is_not_understood_is_refused_by_name(block, says):
    with pytest.raises(BadInput, match=says):
        described(SEARCHED, block_configs=[block, *SEARCHED["block_configs"][1:]])


def test_opt_125m_loads_within_a_few_megabytes_of_what_was_measured():
    assert loaded_gib(described(measured_config("facebook--opt-125m"))) == pytest.approx(0.2389, abs=0.006)


def test_norms_of_q_and_k_are_split_only_where_each_head_has_its_own():
    command = oracle_config("CohereLabs--c4ai-command-r-v01")
    plain, normed = described(command), described(command, use_qk_norm=True)
    assert normed.weight_bytes(tensor_parallel=4) - plain.weight_bytes(tensor_parallel=4) == 40 * 2 * 8192 // 4 * 2


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("facebook--opt-6.7b", {"ffn_dim": "16384"}, "intermediate_size"),
        ("facebook--opt-6.7b", {"do_layer_norm_before": 1}, "do_layer_norm_before"),
        ("microsoft--phi-2", {"partial_rotary_factor": 2.0}, "partial_rotary_factor"),
        ("mosaicml--mpt-7b", {"no_bias": False}, "no_bias"),
        ("openai-community--gpt2", {"n_head": 7}, "num_attention_heads"),
        ("openai-community--gpt2", {"n_embd": None}, "hidden_size"),
    ],
)
def test_what_is_mistyped_absurd_or_not_modelled_is_refused_by_name(name, changes, says):
    with pytest.raises(BadInput, match=says):
        described(oracle_config(name), **changes)


@given(st.sampled_from(ARCHITECTURES), any_values([*oracle_config("facebook--opt-6.7b"), "n_embd", "attn_config"]))
def test_any_change_of_a_field_gives_a_model_or_a_refusal(architecture, changes):
    with contextlib.suppress(TonnageError):
        config = {**oracle_config("facebook--opt-6.7b"), "architectures": [architecture]}
        assert described(config, **{**changes, "architectures": [architecture]}).weight_bytes() > 0
