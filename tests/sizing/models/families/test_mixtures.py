"""Mixtures of experts and their relatives: parameters and caches of published models, refusals of wrong fields."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.errors import BadInput, TonnageError
from sizing.models.from_config import model_from_config
from sizing.models.parallelism import tensor_parallel_sizes

COMMON = {"tie_word_embeddings": False, "torch_dtype": "bfloat16"}
ATTENTION = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size")


def config(architecture, sizes, **rest):
    return {"architectures": [architecture], **COMMON, **dict(zip(ATTENTION, sizes, strict=True)), **rest}


MIXTRAL = config(
    "MixtralForCausalLM", (4096, 32, 32, 8, 32000), intermediate_size=14336, num_local_experts=8,
    num_experts_per_tok=2, max_position_embeddings=32768,
)  # fmt: skip
QWEN_MOE = config(
    "Qwen2MoeForCausalLM", (2048, 24, 16, 16, 151936), intermediate_size=5632, moe_intermediate_size=1408,
    num_experts=60, num_experts_per_tok=4, shared_expert_intermediate_size=5632, max_position_embeddings=8192,
)  # fmt: skip
OLMOE = config(
    "OlmoeForCausalLM", (2048, 16, 16, 16, 50304), intermediate_size=1024, num_experts=64, num_experts_per_tok=8,
    max_position_embeddings=4096,
)  # fmt: skip
PHI_MOE = config(
    "PhiMoEForCausalLM", (4096, 32, 32, 8, 32064), intermediate_size=6400, num_local_experts=16,
    num_experts_per_tok=2, max_position_embeddings=131072, sliding_window=131072,
)  # fmt: skip
GLM_AIR = config(
    "Glm4MoeForCausalLM", (4096, 46, 96, 8, 151552), intermediate_size=10944, moe_intermediate_size=1408,
    n_routed_experts=128, n_shared_experts=1, num_experts_per_tok=8, first_k_dense_replace=1, head_dim=128,
    num_nextn_predict_layers=1, use_qk_norm=False, attention_bias=True, partial_rotary_factor=0.5,
    max_position_embeddings=131072,
)  # fmt: skip
ERNIE = {**config(
    "Ernie4_5_MoeForCausalLM", (2560, 28, 20, 4, 103424), intermediate_size=12288, moe_num_experts=64, moe_k=6,
    moe_intermediate_size=1536, moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=27,
    moe_layer_interval=1, max_position_embeddings=131072,
), "tie_word_embeddings": True}  # fmt: skip
GRANITE = {**config(
    "GraniteMoeForCausalLM", (1536, 32, 24, 8, 49155), intermediate_size=512, num_local_experts=40,
    num_experts_per_tok=8, max_position_embeddings=4096,
), "tie_word_embeddings": True}  # fmt: skip
SCOUT = config(
    "Llama4ForCausalLM", (5120, 48, 40, 8, 202048), head_dim=128, intermediate_size=8192, intermediate_size_mlp=16384,
    num_local_experts=16, num_experts_per_tok=1, interleave_moe_layer_step=1, attention_chunk_size=8192,
    max_position_embeddings=10485760,
)  # fmt: skip
MAVERICK = {**SCOUT, "num_local_experts": 128, "interleave_moe_layer_step": 2, "max_position_embeddings": 1048576}
LONGCAT = {
    "architectures": ["LongcatFlashForCausalLM"], "hidden_size": 6144, "num_layers": 28, "num_attention_heads": 64,
    "ffn_hidden_size": 12288, "expert_ffn_hidden_size": 2048, "q_lora_rank": 1536, "kv_lora_rank": 512,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 512,
    "zero_expert_num": 256, "moe_topk": 12, "vocab_size": 131072, "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}  # fmt: skip
MINICPM3 = config(
    "MiniCPM3ForCausalLM", (2560, 62, 40, 40, 73448), q_lora_rank=768, kv_lora_rank=256, qk_nope_head_dim=64,
    qk_rope_head_dim=32, v_head_dim=64, intermediate_size=6400, max_position_embeddings=32768,
)  # fmt: skip
DBRX = {
    "architectures": ["DbrxForCausalLM"], "d_model": 6144, "n_heads": 48, "n_layers": 40, "max_seq_len": 32768,
    "vocab_size": 100352, "attn_config": {"kv_n_heads": 8}, "torch_dtype": "bfloat16",
    "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
}  # fmt: skip
MIMO = config(
    "MiMoV2FlashForCausalLM", (4096, 48, 64, 4, 152576), head_dim=192, v_head_dim=128, intermediate_size=16384,
    moe_intermediate_size=2048, n_routed_experts=256, num_experts_per_tok=8, topk_method="noaux_tc",
    hybrid_layer_pattern=[int(i not in (0, 5, 11, 17, 23, 29, 35, 41, 47)) for i in range(48)],
    moe_layer_freq=[0] + [1] * 47, sliding_window=128, swa_num_attention_heads=64, swa_num_key_value_heads=8,
    swa_head_dim=192, swa_v_head_dim=128, add_swa_attention_sink_bias=True, partial_rotary_factor=0.334,
    max_position_embeddings=262144,
)  # fmt: skip
MODELS = (
    MIXTRAL, QWEN_MOE, OLMOE, PHI_MOE, GLM_AIR, ERNIE, GRANITE, SCOUT, MAVERICK, LONGCAT, MINICPM3, DBRX, MIMO,
)  # fmt: skip


def described(model, **changes):
    return model_from_config({**model, **changes}, name="changed")


@pytest.mark.parametrize(
    ("model", "parameters", "kv_bytes"),
    [
        (MIXTRAL, 46_702_792_704, 131_072),
        (QWEN_MOE, 14_315_784_192, 196_608),
        (OLMOE, 6_919_161_856, 131_072),
        (PHI_MOE, 41_873_153_344, 131_072),
        (GLM_AIR, 106_852_251_264, 188_416),
        (ERNIE, 21_825_437_888, 57_344),
        (GRANITE, 3_298_793_472, 65_536),
        (SCOUT, 107_769_861_120, 49_152),
        (MAVERICK, 400_711_848_960, 49_152),
        (LONGCAT, 560_664_980_480, 64_512),
        (DBRX, 131_596_523_520, 163_840),
        (MIMO, 308_778_780_864, 9 * 4 * 320 * 2),
    ],
    ids=lambda value: value["architectures"][0] if isinstance(value, dict) else None,
)
def test_parameters_and_kv_bytes_are_those_of_the_published_model(model, parameters, kv_bytes):
    found = described(model)
    assert (found.parameters, found.kv_bytes_per_token()) == (parameters, kv_bytes)


def test_a_token_passes_few_of_the_experts():
    assert round(described(MIXTRAL).active_parameters / 1e9, 1) == 12.9
    assert round(described(SCOUT).active_parameters / 1e9, 1) == 17.2


def test_layers_without_experts_are_those_the_file_says():
    every_second = described(QWEN_MOE, decoder_sparse_step=2)
    named = described(QWEN_MOE, mlp_only_layers=[0, 3])
    routers = [
        next(len(group.layers) for group in model.weights if group.name == "router") for model in (every_second, named)
    ]
    assert routers == [12, 22]


def test_three_of_four_llama_4_layers_keep_a_chunk():
    chunked, full = described(SCOUT).kv_groups
    assert (chunked.kind, chunked.window, len(chunked.layers), full.layers[:3]) == ("chunked", 8192, 36, (3, 7, 11))
    assert described(SCOUT, attention_chunk_size=None).kv_bytes_per_token() == 196_608


def test_minicpm3_caches_whole_heads():
    assert described(MINICPM3).kv_bytes_per_token() == 62 * 40 * 2 * 96 * 2


def test_mimo_keeps_more_heads_in_the_window_than_in_full_layers():
    full, window = described(MIMO).kv_groups
    assert (full.kind, full.kv_heads, len(full.layers)) == ("full", 4, 9)
    assert (window.kind, window.kv_heads, window.window, len(window.layers)) == ("sliding", 8, 128, 39)


def test_a_window_on_every_layer_of_mixtral_bounds_the_cache():
    (group,) = described(MIXTRAL, sliding_window=4096).kv_groups
    assert (group.kind, group.window) == ("sliding", 4096)


def test_expert_parallelism_pads_the_last_rank():
    whole = described(QWEN_MOE)
    by_eight = whole.weight_bytes(expert_parallel=8)
    one_expert = 3 * 2048 * 1408 * 2 * 24
    assert whole.weight_bytes() - by_eight == (60 - 8) * one_expert


def test_tensor_parallel_sizes_follow_heads_and_widths():
    assert tensor_parallel_sizes(described(ERNIE), 8) == (1, 2, 4)
    assert tensor_parallel_sizes(described(MIXTRAL), 8) == (1, 2, 4, 8)


@pytest.mark.parametrize(
    ("model", "changes", "names"),
    [
        (MIXTRAL, {"num_local_experts": None}, "num_experts"),
        (MIXTRAL, {"num_experts_per_tok": 9}, "num_experts_per_tok"),
        (QWEN_MOE, {"mlp_only_layers": "0"}, "mlp_only_layers"),
        (QWEN_MOE, {"decoder_sparse_step": -1}, "decoder_sparse_step"),
        (GLM_AIR, {"first_k_dense_replace": "1"}, "first_k_dense_replace"),
        (GLM_AIR, {"use_qk_norm": 1}, "use_qk_norm"),
        (ERNIE, {"moe_layer_end_index": [1.5]}, "moe_layer_end_index"),
        (SCOUT, {"no_rope_layers": [1, 0]}, "no_rope_layers"),
        (MAVERICK, {"intermediate_size_mlp": None}, "intermediate_size_mlp"),
        (DBRX, {"ffn_config": 4}, "ffn_config"),
        (MIMO, {"hybrid_layer_pattern": [1] * 47}, "hybrid_layer_pattern"),
        (MIMO, {"moe_layer_freq": 1}, "moe_layer_freq"),
        (LONGCAT, {"zero_expert_num": "256"}, "zero_expert_num"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(model, changes, names):
    with pytest.raises(BadInput, match=names):
        described(model, **changes)


@pytest.mark.parametrize(
    ("architecture", "why"),
    [
        ("Dots1ForCausalLM", r"vLLM 0\.23\.0 was the last to serve it"),
        ("HunYuanMoEV1ForCausalLM", "the Transformers backend"),
    ],
)
def test_what_vllm_does_not_serve_itself_is_refused_with_the_reason(architecture, why):
    with pytest.raises(BadInput, match=f"{architecture}' is not modelled: .*{why}"):
        described({"architectures": [architecture]})


@given(st.sampled_from(MODELS), st.data())
def test_any_change_of_a_field_gives_a_model_or_a_refusal(model, data):
    wrong = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
        max_leaves=4,
    )
    changes = data.draw(st.dictionaries(st.sampled_from(sorted({*model, "layer_types", "sliding_window"})), wrong))
    with contextlib.suppress(TonnageError):
        assert described(model, **changes).weight_bytes() > 0
