"""Multimodal models served for text alone: what is left out, since which version, and what is refused."""

from __future__ import annotations

import json

import pytest

from sizing.catalogue import load_catalogue
from sizing.engine.arguments import engine_args
from sizing.engine.settings import resolve_engine
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.memory.size import size_model
from sizing.serving.pod import pod_resources

CATALOGUE = load_catalogue()
L4, H100 = CATALOGUE.gpu("L4"), CATALOGUE.gpu("H100")
VISION = CATALOGUE.model("Qwen/Qwen2-VL-7B-Instruct")
ENCODER_BYTES = 675_759_104 * 2
"""Parameters of the vision encoder of Qwen2-VL as published, in bfloat16."""
GIB = 1 << 30


def sized(model=VISION, gpu=L4, **overrides):
    return size_model(model, gpu, EngineOverrides(max_model_len=8192, **overrides))


def test_text_alone_leaves_the_encoder_and_its_profile_out():
    both, text = sized().memory, sized(limit_mm_per_prompt=0).memory
    assert both.weights_gib - text.weights_gib == pytest.approx(ENCODER_BYTES / GIB, abs=1e-9)
    forward = next(figure for figure in both.figures if figure.name == "peak_activation_gib").inputs
    assert text.peak_activation_gib == max(forward["forward_gib"], forward["sampler_gib"]) < both.peak_activation_gib


def test_the_hint_says_what_it_frees():
    both, text = sized().memory, sized(limit_mm_per_prompt=0).memory
    freed = text.kv_cache_gib - both.kv_cache_gib
    assert f"limit-mm-per-prompt 0 (text alone) frees {freed:.1f} GiB for the KV cache" in both.hints
    assert freed == pytest.approx(2.75, abs=0.1)
    assert not [hint for hint in text.hints if "limit-mm" in hint]


def test_there_is_no_hint_where_the_encoder_does_not_bind():
    assert not [hint for hint in sized(gpu=H100).memory.hints if "limit-mm" in hint]


def test_before_0_15_the_encoder_stays_in_memory():
    both, text = (sized(vllm_version="0.12.0", **more).memory for more in ({}, {"limit_mm_per_prompt": 0}))
    assert text.weights_gib == both.weights_gib
    assert text.peak_activation_gib < both.peak_activation_gib


def test_a_limit_bounds_the_items_of_the_profile_by_the_requests():
    """An image of Gemma 3 has 256 embeddings, of which a batch holds 32; one of Qwen2-VL is a whole batch."""
    gemma = CATALOGUE.model("google/gemma-3-27b-it")
    many, one = (sized(gemma, H100, max_num_seqs=1, **more).memory for more in ({}, {"limit_mm_per_prompt": 1}))
    assert one.peak_activation_gib < many.peak_activation_gib
    assert sized(max_num_seqs=1, limit_mm_per_prompt=1).memory == sized(max_num_seqs=1).memory


def test_the_engine_is_told_for_every_kind_of_item():
    args = engine_args(VISION, sized(limit_mm_per_prompt=0).engine)
    told = json.loads(args[args.index("--limit-mm-per-prompt") + 1])
    assert told == {"audio": 0, "image": 0, "video": 0, "vision_chunk": 0}
    assert "--limit-mm-per-prompt" not in engine_args(VISION, sized().engine)


@pytest.mark.parametrize(
    ("model", "stated", "flag", "gib"),
    [
        (VISION, {}, "1", 2),
        (VISION, {"data_parallel": 4}, "1", 8),
        (VISION, {"limit_mm_per_prompt": 3}, "1", 2),
        (VISION, {"limit_mm_per_prompt": 0}, None, 0),
        (VISION, {"vllm_version": "0.10.0"}, None, 0),
        (CATALOGUE.model("openai/whisper-large-v3"), {}, "1", 2),
        (CATALOGUE.model("Qwen/Qwen3-8B"), {}, None, 0),
    ],
)
def test_the_cache_of_processed_inputs_is_set_and_is_memory_of_the_pod(model, stated, flag, gib):
    engine = resolve_engine(model, H100, EngineOverrides(**stated), tensor_parallel=1, pipeline_parallel=1)
    args = engine_args(model, engine)
    told = args[args.index("--mm-processor-cache-gb") + 1] if "--mm-processor-cache-gb" in args else None
    assert (told, pod_resources(engine, 10**9).memory_gib) == (flag, 11 + gib)


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("Qwen/Qwen3-8B", "0.32.0", "takes text alone already"),
        ("openai/whisper-large-v3", "0.32.0", "cannot serve without its encoder"),
        ("Qwen/Qwen2-VL-7B-Instruct", "0.10.0", "before vLLM 0.10.1"),
    ],
)
def test_where_there_is_nothing_to_leave_out_it_is_refused(name, version, said):
    stated = EngineOverrides(limit_mm_per_prompt=0, vllm_version=version)
    with pytest.raises(BadInput) as refused:
        size_model(CATALOGUE.model(name), H100, stated)
    assert said in refused.value.line()
