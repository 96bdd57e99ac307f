"""Recurrent layers and sliding windows: parameters, states, blocks and concurrency of published models."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sizing.engine.versions import version_rules
from sizing.errors import BadInput
from sizing.memory.kv_cache import cache_layout, capacity_tokens
from sizing.models.from_config import model_from_config
from sizing.models.parallelism import pipeline_stages
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings

ROOT = Path(__file__).resolve().parents[4]
FOLDERS = ("tests/oracle/configs", "benchmarks/data/configs")
TEXT = {
    "Gemma4ForConditionalGeneration": "Gemma4ForCausalLM",
    "Glm5NextForConditionalGeneration": "Glm5NextForCausalLM",
    "Qwen3_5ForConditionalGeneration": "Qwen3_5ForCausalLM",
}
GIB = 1 << 30
ENGINE = EngineSettings(
    vllm_version="0.32.0", tensor_parallel=1, pipeline_parallel=1, max_model_len=8192, max_num_seqs=256,
    max_num_batched_tokens=8192, gpu_memory_utilization=0.9, kv_cache_dtype="auto", enforce_eager=False,
    dtype="bfloat16",
)  # fmt: skip


def config_of(name):
    path = next(ROOT / folder / f"{name}.json" for folder in FOLDERS if (ROOT / folder / f"{name}.json").exists())
    config = json.loads(path.read_text())["config"]
    return {**config, "architectures": [TEXT.get(config["architectures"][0], config["architectures"][0])]}


def model_of(name, **changes):
    return model_from_config({**config_of(name), **changes}, name=name)


def concurrency(name, version, kv_gib, **settings):
    """(blocks, requests at max_model_len, printed tokens) of a pool of ``kv_gib``."""
    model, rules = model_of(name), version_rules(version)
    engine = replace(ENGINE, vllm_version=version, **settings)
    layout = cache_layout(model, engine, rules)
    whole = Stage(first=0, layers=model.num_layers, of=model.num_layers)
    blocks = int(kv_gib * GIB) // layout.bytes_per_block(whole)
    return blocks, blocks / layout.blocks_per_request, capacity_tokens(layout, engine, rules, blocks)


@pytest.mark.parametrize(
    ("name", "parameters", "kv_bytes"),
    [
        ("google--gemma-2-9b-it", 9_241_705_984, 172_032),
        ("google--gemma-2-27b-it", 27_227_128_320, 188_416),
        ("google--gemma-3-1b-it", 999_885_952, 4_096),
        ("CohereLabs--c4ai-command-r7b-12-2024", 8_028_033_024, 32_768),
        ("allenai--Olmo-3-7B-Instruct", 7_298_011_136, 131_072),
        ("LiquidAI--LFM2-1.2B", 1_170_340_608, 12_288),
        ("ibm-granite--granite-4.0-h-tiny", 6_939_037_248, 8_192),
        ("ai21labs--AI21-Jamba-1.5-Mini", 51_570_323_328, 16_384),
        ("nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31_577_940_288, 6_144),
        ("Qwen--Qwen3-Next-80B-A3B-Instruct", 79_674_391_296, 24_576),
        ("Zyphra--Zamba2-2.7B", 2_662_214_560, 184_320),
    ],
)
def test_parameters_are_those_of_the_published_model_and_only_full_layers_grow(name, parameters, kv_bytes):
    model = model_of(name)
    assert (model.parameters, model.kv_bytes_per_token()) == (parameters, kv_bytes)


@pytest.mark.parametrize(
    ("name", "version", "kv_gib", "settings", "measured"),
    [
        ("openai--gpt-oss-120b", "0.15.1", 77.93, {"tensor_parallel": 2, "max_model_len": 131_072}, 32.56),
        ("openai--gpt-oss-120b", "0.10.1.1", 45.32,
         {"tensor_parallel": 4, "max_model_len": 16_384, "max_num_batched_tokens": 2048}, 284.25),
        ("google--gemma-4-26B-A4B", "0.25.1", 83.89,
         {"max_model_len": 262_144, "max_num_batched_tokens": 2496}, 14.78),
        ("google--gemma-4-26B-A4B", "0.25.1", 84.68,
         {"max_model_len": 262_144, "max_num_batched_tokens": 2496}, 14.92),
        ("google--gemma-4-26B-A4B", "0.29.0", 13.47,
         {"max_model_len": 4096, "max_num_batched_tokens": 2048}, 63_988 / 4096),
        ("google--gemma-4-26B-A4B", "0.29.0", 13.47,
         {"max_model_len": 16_384, "max_num_batched_tokens": 2048}, 170_836 / 16_384),
        ("Qwen--Qwen3.5-9B", "0.18.0", 15.85, {"enable_prefix_caching": False}, 51.74),
        ("Qwen--Qwen3.5-9B", "0.19.0", 15.36,
         {"enable_prefix_caching": False, "tensor_parallel": 4, "max_model_len": 32_768}, 57.74),
        ("Qwen--Qwen3.5-27B", "0.19.0", 7.0,
         {"enable_prefix_caching": False, "tensor_parallel": 4, "max_model_len": 32_768}, 12.98),
    ],
)  # fmt: skip
def test_concurrency_is_what_measured_starts_printed(name, version, kv_gib, settings, measured):
    assert concurrency(name, version, kv_gib, **settings)[1] == pytest.approx(measured, rel=2e-3)


def test_tokens_are_printed_by_blocks_before_0_20_and_by_concurrency_since():
    pool = {"max_model_len": 131_072, "tensor_parallel": 2}
    blocks, requests, tokens = concurrency("openai--gpt-oss-120b", "0.15.1", 77.93, **pool)
    assert (blocks, tokens) == (283_734, pytest.approx(2_269_888, rel=1e-4))
    _, requests, tokens = concurrency("openai--gpt-oss-120b", "0.24.0", 77.93, **pool)
    assert tokens == int(requests * 131_072)


def test_a_speculative_token_costs_a_block_of_every_state_group_and_a_row_of_the_convolution():
    model, rules = model_of("Qwen--Qwen3.5-9B"), version_rules("0.32.0")
    plain = cache_layout(model, ENGINE, rules)
    draft = cache_layout(model, replace(ENGINE, num_speculative_tokens=3, speculative_method="mtp"), rules)
    state = next(group for group in model.kv_groups if group.kind == "state")
    assert state.state_bytes(2, 1, 3) - state.state_bytes(2) == 3 * 8192 * 2
    assert [sum(group.kind == "state" for group in layout.groups) for layout in (plain, draft)] == [3, 3]
    assert draft.blocks_per_request - plain.blocks_per_request == 3 * 3


def test_prefix_caching_keeps_two_states_and_mamba_2_a_third_since_0_32():
    def blocks(name, version, caching):
        engine = replace(ENGINE, enable_prefix_caching=caching)
        layout = cache_layout(model_of(name), engine, version_rules(version))
        groups = sum(group.kind == "state" for group in layout.groups)
        full = next(group for group in layout.groups if group.kind == "full")
        return (layout.blocks_per_request - -(-8192 // full.block_tokens)) / groups

    granite, qwen = "ibm-granite--granite-4.0-h-tiny", "Qwen--Qwen3.5-9B"
    assert [blocks(granite, "0.32.0", on) for on in (False, True)] == [1, 3]
    assert [blocks(qwen, "0.32.0", on) for on in (False, True)] == [1, 2]
    assert blocks(granite, "0.29.0", True) == 2


def test_one_group_of_b_and_c_is_on_every_rank():
    model = model_of("ibm-granite--granite-4.0-h-tiny")  # 48 heads of 64, one group, 128 states
    (window, _) = next(group for group in model.kv_groups if group.kind == "state").state
    assert [window.elements_on_rank(n) for n in (1, 2, 4)] == [3 * (3072 + 256), 3 * (1536 + 256), 3 * (768 + 256)]


def test_a_window_on_all_layers_of_a_dense_decoder_is_one_sliding_group():
    llama = config_of("microsoft--Phi-3-mini-4k-instruct")
    (group,) = model_from_config(llama, name="phi").kv_groups
    assert (group.kind, group.window, len(group.layers)) == ("sliding", 2047, 32)
    assert [g.kind for g in model_of("microsoft--Phi-3-mini-4k-instruct", sliding_window=None).kv_groups] == ["full"]


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, ["full"]),
        ({"sliding_window": 4096}, ["full"]),
        ({"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 0}, ["sliding"]),
        ({"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 48}, ["full"]),
    ],
)
def test_the_window_of_qwen_counts_only_when_switched_on_and_for_all_layers(changes, kinds):
    assert [group.kind for group in model_of("Qwen--Qwen3-30B-A3B-Instruct-2507", **changes).kv_groups] == kinds


def test_a_window_on_some_layers_of_qwen_is_refused_as_vllm_does():
    changes = {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 20}
    with pytest.raises(BadInput, match="max_window_layers"):
        model_of("Qwen--Qwen3-30B-A3B-Instruct-2507", **changes)


SAMPLES = (
    "CohereLabs--c4ai-command-r7b-12-2024",
    "LiquidAI--LFM2-1.2B",
    "LiquidAI--LFM2-8B-A1B",
    "Qwen--Qwen3-Next-80B-A3B-Instruct",
    "ai21labs--AI21-Jamba-1.5-Mini",
    "google--gemma-3-1b-it",
    "google--gemma-4-26B-A4B",
    "ibm-ai-platform--Bamba-9B-v2",
    "ibm-granite--granite-4.0-h-tiny",
    "moonshotai--Kimi-Linear-48B-A3B-Instruct",
    "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
    "zai-org--GLM-5.3-Flash",
    "Zyphra--Zamba2-2.7B",
)


@pytest.mark.parametrize("wrong", ["x", -1, 1 << 40, [], {}, 1.5, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_wrong_field_gives_a_model_or_a_refusal_and_never_another_error(name, wrong):
    config = config_of(name)
    inner = config.get("text_config", config)
    for key in inner:
        changed = {**inner, key: wrong}
        document = {**config, "text_config": changed} if "text_config" in config else changed
        with contextlib.suppress(BadInput):
            model_from_config(document, name=name)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_missing_field_gives_a_model_or_a_refusal(name):
    config = config_of(name)
    for key in config:
        with contextlib.suppress(BadInput):
            model_from_config({k: v for k, v in config.items() if k != key}, name=name)


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("LiquidAI--LFM2-1.2B", {"layer_types": ["conv"] * 15}, "layer_types"),
        ("LiquidAI--LFM2-1.2B", {"layer_types": ["fourier"] * 16}, "fourier"),
        ("nvidia--Nemotron-H-56B-Base-8K", {"hybrid_override_pattern": "MXM"}, "hybrid_override_pattern"),
        ("ibm-ai-platform--Bamba-9B-v2", {"attn_layer_indices": [99]}, "attn_layer_indices"),
        ("ibm-ai-platform--Bamba-9B-v2", {"mamba_n_heads": 100}, "mamba_n_heads"),
        ("google--gemma-3-1b-it", {"layer_types": None, "_sliding_window_pattern": 0}, "_sliding_window_pattern"),
        ("moonshotai--Kimi-Linear-48B-A3B-Instruct", {"linear_attn_config": None}, "linear_attn_config"),
        ("Qwen--Qwen3-Next-80B-A3B-Instruct", {"mamba_ssm_dtype": "int4"}, "mamba_ssm_dtype"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(name, changes, named):
    with pytest.raises(BadInput, match=named):
        model_of(name, **changes)


def test_glm_5_3_flash_packs_latents_and_pooled_keys_and_prints_what_was_measured():
    pool = {"tensor_parallel": 8, "max_model_len": 131_072}
    blocks, requests, _ = concurrency("zai-org--GLM-5.3-Flash", "0.28.1", 81.79, **pool)
    assert (blocks, requests) == (11_801, pytest.approx(55.15, rel=2e-3))
    assert concurrency("zai-org--GLM-5.3-Flash", "0.32.0", 40, **pool)[0] == 40 * GIB // 7_468_032


def test_embedding_and_head_of_qwen3_next_stand_on_every_stage_of_a_pipeline():
    model = model_of("Qwen--Qwen3-Next-80B-A3B-Instruct")
    stages = pipeline_stages(model.num_layers, 2)
    assert [model.weight_bytes(stage=stage) for stage in stages] == [80_296_720_256, 80_296_724_352]
