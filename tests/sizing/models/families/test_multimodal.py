"""Models that see: published parameter counts, encoders on each rank, what was measured, refusals."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, TonnageError
from sizing.memory.estimate import estimate_memory
from sizing.models.families.multimodal import ARCHITECTURES
from sizing.models.parallelism import pipeline_stages, tensor_parallel_sizes
from sizing.plan import EngineSettings
from tests.support.published import any_values, described, loaded_gib, measured_config, oracle_config

QWEN = oracle_config("Qwen--Qwen2.5-VL-7B-Instruct")
LLAVA = {"architectures": ["LlavaForConditionalGeneration"]}
QWEN3 = oracle_config("Qwen--Qwen3-VL-8B-Instruct")


@pytest.mark.parametrize(
    ("name", "parameters", "kv_bytes"),
    [
        ("Qwen--Qwen2.5-VL-7B-Instruct", 8_292_166_656, 57_344),
        ("Qwen--Qwen3-VL-8B-Instruct", 8_767_123_696, 147_456),
        ("google--gemma-3-27b-it", 27_432_406_640, 81_920),
        ("HuggingFaceM4--Idefics3-8B-Llama3", 8_462_086_384, 131_072),
        ("mistralai--Mistral-Small-3.1-24B-Instruct-2503", 24_011_361_280, 163_840),
    ],
)
def test_parameters_and_kv_bytes_are_those_of_the_published_model(name, parameters, kv_bytes):
    model = described(oracle_config(name))
    assert (model.parameters, model.kv_bytes_per_token(), model.family) == (parameters, kv_bytes, "multimodal")


def test_internvl_stands_on_the_language_model_that_it_names():
    text = {**measured_config("Qwen--Qwen2.5-7B-Instruct"), "vocab_size": 151_674}
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
              "image_size": 448, "patch_size": 14, "qkv_bias": True, "norm_type": "layer_norm"}  # fmt: skip
    config = {"architectures": ["InternVLChatModel"], "torch_dtype": "bfloat16", "llm_config": text, "select_layer": -1}
    assert described(config, vision_config=vision).parameters == 7_944_373_760
    odd = {**vision, "hidden_size": 3200, "num_attention_heads": 25, "intermediate_size": 12_800}
    one, two = (described(config, vision_config=odd).weight_bytes(tensor_parallel=ranks) for ranks in (1, 2))
    whole = 24 * 4 * 3200 * 3200 * 2  # attention of 25 heads is on both ranks
    assert 2 * two - one > whole


@pytest.mark.parametrize(
    ("name", "ranks", "measured"),
    [
        ("Qwen--Qwen2-VL-7B-Instruct", 2, 7.7541),
        ("Qwen--Qwen3-VL-30B-A3B-Instruct", 2, 29.3114),
        ("google--gemma-3-27b-it", 4, 13.1664),
        ("google--gemma-3-27b-it", 8, 6.7403),
        ("google--gemma-4-26B-A4B", 1, 48.5),
        ("rednote-hilab--dots.ocr", 1, 5.7174),
    ],
)
def test_a_rank_loads_what_was_measured(name, ranks, measured):
    assert loaded_gib(described(measured_config(name)), ranks) == pytest.approx(measured, rel=0.02)


def test_an_encoder_is_on_every_stage():
    model = described(QWEN)
    encoder = 2 * sum(group.elements for group in model.weights if group.place == "every")
    stages = [model.weight_bytes(stage=stage) for stage in pipeline_stages(model.num_layers, 2)]
    assert encoder > 1.2e9
    assert sum(stages) == model.weight_bytes() + encoder


def test_the_heads_of_an_encoder_bound_tensor_parallelism_too():
    model = described(oracle_config("Qwen--Qwen2.5-VL-7B-Instruct"), num_attention_heads=32, num_key_value_heads=8)
    assert tensor_parallel_sizes(model, 8) == (1, 2, 4)


def test_an_outer_type_and_quantisation_count_for_the_text_and_an_ignored_encoder_stays():
    scheme = {"quant_method": "fp8", "modules_to_not_convert": ["visual"]}
    plain, scaled = described(QWEN3), described(QWEN3, quantization_config=scheme)
    assert sum(group.elements for group in plain.weights if group.place == "first") > 5e8
    assert 0.52 < scaled.weight_bytes() / plain.weight_bytes() < 0.62
    everything = described(QWEN3, quantization_config={"quant_method": "fp8"})
    assert everything.weight_bytes() < scaled.weight_bytes()


def test_the_profile_run_takes_one_largest_image_or_as_many_frames_as_the_context_holds():
    run = described(QWEN).encoder_run
    assert (run.tokens, run.positions, run.most) == (16384, 65536, 7)
    assert described(QWEN3).encoder_run.most == 1


@pytest.mark.parametrize(
    ("name", "version", "ranks", "length", "measured"),
    [
        ("Qwen--Qwen3-VL-30B-A3B-Instruct", "0.12.0", 2, 65_536, 3.2),
        ("Qwen--Qwen3.5-9B", "0.18.0", 1, 8_192, 1.85),
        ("Qwen--Qwen3.5-27B", "0.19.0", 4, 32_768, 0.8),
    ],
)
def test_the_encoder_needs_about_what_is_missing_in_the_budget_of_measured_starts(
    name, version, ranks, length, measured
):
    engine = EngineSettings(
        vllm_version=version, tensor_parallel=ranks, max_model_len=length, pipeline_parallel=1, max_num_seqs=16,
        max_num_batched_tokens=2048, gpu_memory_utilization=0.9, kv_cache_dtype="auto", enforce_eager=True,
        dtype="auto",
    )  # fmt: skip
    estimate = estimate_memory(described(measured_config(name)), load_catalogue().gpu("H100"), engine)
    assert estimate.peak_activation_gib == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vision_config": None}, "vision_config"),
        ({"vision_config": []}, "vision_config"),
        ({"vision_config": {"depth": 0}}, "depth"),
        ({"vision_config": {"num_heads": 7}}, "num_heads"),
        ({"text_config": "qwen"}, "text_config"),
        ({"text_config": {"model_type": "rwkv"}}, "rwkv"),
        (
            {
                "architectures": ["LlavaForConditionalGeneration"],
                "vision_config": {"model_type": "x", "num_hidden_layers": 2},
            },
            "model_type",
        ),
    ],
)
def test_what_is_missing_or_not_modelled_is_refused_by_name(changes, says):
    with pytest.raises(BadInput, match=says):
        described(QWEN3, **changes)


def test_an_audio_encoder_of_gemma_4_is_refused():
    with pytest.raises(BadInput, match="audio_config"):
        described(measured_config("google--gemma-4-26B-A4B"), audio_config={})


@given(st.sampled_from(ARCHITECTURES), any_values([*QWEN3]), any_values([*QWEN3["vision_config"], "image_size"]))
def test_any_change_of_a_field_gives_a_model_or_a_refusal(architecture, changes, seen):
    config = {**QWEN3, "vision_config": {**QWEN3["vision_config"], **seen}, **changes, "architectures": [architecture]}
    with contextlib.suppress(TonnageError):
        assert described(config).weight_bytes() > 0
