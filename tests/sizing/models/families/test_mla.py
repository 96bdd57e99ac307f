"""Latent attention: DeepSeek, Kimi-K2, GLM-5: parameters, cache of the latent and of the indexer, refusals."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.engine.as_loaded import sparse_on_card
from sizing.engine.versions import version_rules
from sizing.errors import BadInput, TonnageError
from sizing.memory.kv_cache import cache_layout
from sizing.models.from_config import model_from_config
from sizing.models.parallelism import tensor_parallel_sizes
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings

CONFIGS = Path(__file__).parents[4] / "benchmarks" / "data" / "configs"
GIB = 1 << 30
LITE = {
    "architectures": ["DeepseekV2ForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 27,
    "num_attention_heads": 16, "num_key_value_heads": 16, "q_lora_rank": None, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "intermediate_size": 10944,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "vocab_size": 102400, "max_position_embeddings": 163840,
    "topk_method": "greedy", "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def published(name):
    return json.loads((CONFIGS / f"{name}.json").read_text())["config"]


R1 = published("deepseek-ai--DeepSeek-R1")
GLM_5 = published("zai-org--GLM-5-FP8")


def described(config, **changes):
    return model_from_config({**config, **changes}, name="changed")


@pytest.mark.parametrize(
    ("config", "parameters", "kv_bytes", "fp8_bytes"),
    [
        (LITE, 15_706_484_224, 27 * 576 * 2, 27 * 576),
        (R1, 671_026_419_200, 61 * 576 * 2, 61 * 576),
        (GLM_5, 743_911_218_432, 78 * (576 * 2 + 132), 78 * (656 + 132)),
    ],
    ids=["DeepSeek-V2-Lite", "DeepSeek-R1", "GLM-5"],
)
def test_parameters_and_kv_bytes_are_those_of_the_published_model(config, parameters, kv_bytes, fp8_bytes):
    model = described(config)
    assert model.parameters == parameters
    assert (model.kv_bytes_per_token(), model.kv_bytes_per_token("fp8")) == (kv_bytes, fp8_bytes)


@pytest.mark.parametrize(("config", "billions"), [(R1, 37), (GLM_5, 40)], ids=["DeepSeek-R1", "GLM-5"])
def test_a_token_passes_the_published_active_parameters_and_none_of_the_layer_that_drafts(config, billions):
    assert described(config).active_parameters / 1e9 == pytest.approx(billions, rel=0.05)


def test_the_latent_is_whole_on_every_rank():
    (latent,) = described(R1).kv_groups
    assert [latent.token_bytes(2, size) for size in (1, 8, 16)] == [1152] * 3


def test_deepseek_r1_on_sixteen_gpus_loads_what_was_measured():
    model = described(R1)
    loaded = model.weight_bytes(tensor_parallel=16, derived=True) + model.rotary_bytes
    assert loaded / GIB == pytest.approx(40.3174, rel=0.001)


def test_the_copy_of_kv_b_proj_is_made_only_where_it_is_quantised():
    plain = described({key: value for key, value in R1.items() if key != "quantization_config"})
    assert plain.weight_bytes(derived=True) == plain.weight_bytes()
    assert described(R1).weight_bytes(derived=True) - described(R1).weight_bytes() == 61 * 128 * 256 * 512 * 2


def test_layers_that_share_an_index_have_no_indexer():
    sharing = described(GLM_5, index_topk_freq=4, index_skip_topk_offset=3)
    assert [len(group.layers) for group in sharing.kv_groups] == [78, 21]
    assert sharing.kv_groups[1].layers[:5] == (0, 1, 2, 6, 10)
    by_pattern = described(GLM_5, index_topk_pattern="FS" * 39)
    assert by_pattern.kv_groups[1].layers == tuple(range(0, 78, 2))


@pytest.mark.parametrize(
    ("capability", "auto", "fp8"), [(9, 1152, 656), (10, 1152, 576), (12, 656, 656)], ids=["Hopper", "B200", "RTX PRO"]
)
def test_the_card_decides_how_sparse_attention_packs_a_token(capability, auto, fp8):
    latent, keys = sparse_on_card(described(GLM_5).kv_groups, capability)
    assert (latent.token_bytes(2), latent.token_bytes(1), keys.token_bytes(2)) == (auto, fp8, 132)


def test_a_draft_layer_has_a_latent_and_an_indexer_of_its_own():
    engine = EngineSettings(
        vllm_version="0.32.0", tensor_parallel=8, pipeline_parallel=1, max_model_len=65536, max_num_seqs=64,
        max_num_batched_tokens=8192, gpu_memory_utilization=0.9, kv_cache_dtype="fp8", enforce_eager=False,
        dtype="auto", speculative_method="mtp", num_speculative_tokens=3,
    )  # fmt: skip
    layout = cache_layout(described(GLM_5), engine, version_rules("0.32.0"))
    assert layout.bytes_per_block(Stage(first=0, layers=78, of=78)) == 64 * 79 * (656 + 132)


def test_multi_token_prediction_is_a_layer_more_and_loaded_only_when_asked():
    model = described(R1)
    assert model.draft_layers == 1
    assert model.weight_bytes(draft=True) - model.weight_bytes() == 11_717_511_392


def test_experts_are_whole_under_expert_parallelism():
    model = described(R1)
    split, whole = model.weight_bytes(tensor_parallel=8), model.weight_bytes(tensor_parallel=8, expert_parallel=8)
    assert abs(split - whole) / whole < 1e-4
    assert model.weight_bytes(expert_parallel=8) < model.weight_bytes() / 5


def test_heads_and_blocks_decide_the_tensor_parallel_sizes():
    assert tensor_parallel_sizes(described(R1), 32) == (1, 2, 4, 8, 16)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"kv_lora_rank": None}, "kv_lora_rank"),
        ({"q_lora_rank": -1}, "q_lora_rank"),
        ({"v_head_dim": "128"}, "v_head_dim"),
        ({"n_routed_experts": 2.5}, "n_routed_experts"),
        ({"num_experts_per_tok": 300}, "num_experts_per_tok"),
        ({"num_nextn_predict_layers": 10**9}, "num_nextn_predict_layers"),
        ({"index_topk_pattern": "FX"}, "index_topk_pattern"),
        ({"index_head_dim": None}, "index_head_dim"),
        ({"q_lora_rank": None}, "q_lora_rank"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(changes, names):
    with pytest.raises(BadInput, match=names):
        described(GLM_5, **changes)


@given(st.dictionaries(st.sampled_from(sorted(set(GLM_5) - {"quantization_config"})), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
), max_size=3))  # fmt: skip
def test_any_change_of_a_field_gives_a_model_or_a_refusal(changes):
    plain = {key: value for key, value in GLM_5.items() if key != "quantization_config"}
    with contextlib.suppress(TonnageError):
        assert described(plain, **changes).weight_bytes() > 0
