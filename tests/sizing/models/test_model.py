"""Models from config.json: parameters, KV bytes, sharding, quantisation, refusals."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.catalogue.model_source import load_model
from sizing.errors import BadInput, TonnageError
from sizing.models.from_config import model_from_config
from sizing.models.parallelism import pipeline_stages, tensor_parallel_sizes

ORACLE = Path(__file__).resolve().parents[2] / "oracle" / "configs"
CATALOGUE = load_catalogue()
LLAMA = dict(CATALOGUE.model_document("meta-llama/Llama-3.1-8B-Instruct")["config"])
GIB = 1 << 30


def described(**changes):
    return model_from_config({**LLAMA, **changes}, name="changed")


@pytest.mark.parametrize(
    ("name", "parameters", "kv_bytes"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, 131_072),
        ("meta-llama/Llama-3.3-70B-Instruct", 70_553_706_496, 327_680),
        ("Qwen/Qwen3-8B", 8_190_735_360, 147_456),
        ("Qwen/Qwen3-32B", 32_762_123_264, 262_144),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, 57_344),
        ("Qwen/Qwen2.5-72B-Instruct", 72_706_203_648, 327_680),
        ("mistralai/Mistral-7B-Instruct-v0.3", 7_248_023_552, 131_072),
    ],
)
def test_parameters_and_kv_bytes_are_those_of_the_published_model(name, parameters, kv_bytes):
    model = CATALOGUE.model(name)
    assert (model.parameters, model.kv_bytes_per_token()) == (parameters, kv_bytes)


def test_fp8_halves_the_cache():
    assert CATALOGUE.model("Qwen/Qwen3-8B").kv_bytes_per_token("fp8") == 147_456 // 2


def test_a_tied_head_is_counted_once_but_stored_on_both_ends_of_a_pipeline():
    model = CATALOGUE.model("Qwen/Qwen3-4B")
    stages = pipeline_stages(model.num_layers, 2)
    embedding = model.vocabulary_padded * model.hidden_size * 2
    assert sum(model.weight_bytes(stage=stage) for stage in stages) == model.weight_bytes() + embedding


@pytest.mark.parametrize("name", CATALOGUE.models)
def test_tensor_parallelism_never_raises_a_rank_above_its_share_plus_what_is_replicated(name):
    model = CATALOGUE.model(name)
    whole, previous = model.weight_bytes(), None
    for size in tensor_parallel_sizes(model, 16):
        rank = model.weight_bytes(tensor_parallel=size)
        assert whole <= rank * size
        assert previous is None or rank < previous
        rank_cache = sum(len(group.layers) * group.token_bytes(2, size) for group in model.kv_groups)
        assert rank_cache * size >= sum(len(group.layers) * group.token_bytes(2) for group in model.kv_groups)
        previous = rank


def test_kv_heads_are_replicated_when_there_are_more_ranks_than_heads():
    model = CATALOGUE.model("Qwen/Qwen2.5-7B-Instruct")  # 28 heads, 4 KV heads
    (group,) = model.kv_groups
    assert [28 * group.token_bytes(2, size) for size in (1, 4, 8)] == [57_344, 57_344 // 4, 57_344 // 4]
    assert tensor_parallel_sizes(model, 8) == (1, 2, 4)


@pytest.mark.parametrize(
    ("layers", "stages", "want"), [(32, 2, [16, 16]), (80, 3, [27, 27, 26]), (36, 5, [7, 7, 7, 8, 7])]
)
def test_layers_are_split_over_stages_as_vllm_does(layers, stages, want):
    counts = [stage.layers for stage in pipeline_stages(layers, stages)]
    assert sum(counts) == layers
    assert counts == want


def test_ignored_modules_stay_in_the_type_of_the_model():
    scheme = {"quant_method": "fp8", "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.down_proj"]}
    part, all_layers = described(quantization_config=scheme), described(quantization_config={"quant_method": "fp8"})
    assert part.weight_bytes() - all_layers.weight_bytes() == 14336 * 4096 - 8


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"architectures": ["GigaChatForCausalLM"]}, "GigaChatForCausalLM"),
        ({"architectures": None}, "architectures"),
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": -4096}, "hidden_size"),
        ({"hidden_size": 4096.5}, "hidden_size"),
        ({"hidden_size": True}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_key_value_heads": 5}, "num_key_value_heads"),
        ({"vocab_size": "128256"}, "vocab_size"),
        ({"torch_dtype": "int3"}, "torch_dtype"),
        ({"torch_dtype": None}, "torch_dtype"),
        ({"quantization_config": {"quant_method": "aqlm"}}, "aqlm"),
        ({"quantization_config": {"quant_method": "awq", "bits": 3}}, "bits"),
        ({"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": ["re:(?<=a)b"]}}, "unquantised"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": "4"}}, "factor"),
    ],
)
def test_what_is_missing_mistyped_absurd_or_not_modelled_is_refused_by_name(changes, names):
    with pytest.raises(BadInput, match=names):
        described(**changes)


@given(st.dictionaries(st.sampled_from([*LLAMA, "quantization_config", "layer_types"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
), max_size=3))  # fmt: skip
def test_any_change_of_a_field_gives_a_model_or_a_refusal(changes):
    with contextlib.suppress(TonnageError):
        assert described(**changes).weight_bytes() > 0


def test_a_mixture_of_experts_counts_what_one_token_passes():
    moe = {"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 48, "head_dim": 128,
           "num_attention_heads": 32, "num_key_value_heads": 4, "moe_intermediate_size": 768, "num_experts": 128,
           "num_experts_per_tok": 8, "vocab_size": 151936, "intermediate_size": 6144, "torch_dtype": "bfloat16",
           "max_position_embeddings": 40960, "tie_word_embeddings": False}  # fmt: skip
    model = model_from_config(moe, name="Qwen3-30B-A3B")
    assert round(model.parameters / 1e9, 1) == 30.5
    assert model.active_parameters == pytest.approx(3.3e9, rel=0.02)


def test_a_local_folder_gives_the_model_with_the_bytes_of_its_checkpoint(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.safetensors.index.json").write_text('{"metadata": {"total_size": 16060522496}}')
    assert load_model(str(tmp_path), CATALOGUE).checkpoint_size() == 16_060_522_496


def test_a_checkpoint_without_stated_bytes_has_those_of_its_files_and_not_of_the_padded_experts_in_memory():
    model = CATALOGUE.model("openai/gpt-oss-120b")
    assert (model.checkpoint_bytes, model.checkpoint_size()) == (None, 65_248_815_744)  # total_size of its index


def test_the_quantisation_that_modelopt_keeps_beside_the_configuration_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    scheme = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": scheme}))
    model = load_model(str(tmp_path), CATALOGUE)
    assert (model.quantisation.bits, model.kv_cache_dtype, model.kv_bytes_per_token()) == (8, "fp8", 65_536)


def test_a_checkpoint_that_the_configuration_does_not_describe_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.safetensors.index.json").write_text('{"metadata": {"total_size": 5700000000}}')
    with pytest.raises(BadInput, match=r"5\.31 GiB of weights, but config\.json describes 14\.96"):
        load_model(str(tmp_path), CATALOGUE)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested|not JSON"),
        ("[]", "no JSON object"),
        (" " * (5 << 20), "too large"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_in_one_line(tmp_path, content, names):
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(BadInput, match=names):
        load_model(str(tmp_path), CATALOGUE)


def test_a_name_with_a_path_in_it_never_leaves_the_catalogue():
    for name in ("../constants", "a/../../constants", "models--x", "/etc/passwd", "x\0y"):
        with pytest.raises(BadInput):
            load_model(name, CATALOGUE)


def test_a_kind_of_layer_that_a_hybrid_has_none_of_takes_nothing():
    config = json.loads((ORACLE / "ibm-granite--granite-4.0-h-tiny.json").read_text())["config"]
    mixed = model_from_config(config, name="granite")
    config["layer_types"] = ["attention"] * config["num_hidden_layers"]
    model = model_from_config(config, name="granite")
    assert {group.kind for group in mixed.kv_groups} == {"full", "state"}
    assert {group.kind for group in model.kv_groups} == {"full"}
    assert model.weight_bytes(tensor_parallel=2) < model.weight_bytes()
