"""Draft models: their weights against vLLM's classes, what they share, the cache, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sizing.catalogue import load_catalogue
from sizing.engine.arguments import engine_args
from sizing.engine.draft_model import as_head, draft_as_loaded, draft_bytes
from sizing.engine.settings import resolve_engine
from sizing.engine.versions import version_rules
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.memory.budget import memory_budget
from sizing.memory.case import case_of
from sizing.memory.hints import longest_that_fits
from sizing.memory.kv_cache import cache_layout
from sizing.memory.size import size_model
from sizing.models.from_config import model_from_config
from sizing.models.parallelism import pipeline_stages
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings

CATALOGUE = load_catalogue()
LLAMA, QWEN = CATALOGUE.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOGUE.model("Qwen/Qwen3-8B")
H100 = CATALOGUE.gpu("H100")
GIB = 1 << 30
EMBEDDING = 128_256 * 4096 * 2
ROTARY = 131_072 * 128 * 2
EAGLE_CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "max_position_embeddings": 2048, "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 1,
    "rms_norm_eps": 1e-05, "tie_word_embeddings": False, "torch_dtype": "float16", "vocab_size": 128256,
}  # fmt: skip
EAGLE3_CONFIG = {**EAGLE_CONFIG, "architectures": ["LlamaForCausalLMEagle3"], "draft_vocab_size": 32000}
MEDUSA_CONFIG = {
    "architectures": ["MedusaModel"], "model_type": "medusa", "hidden_size": 4096, "num_heads": 3,
    "num_hidden_layers": 1, "vocab_size": 128256, "truncated_vocab_size": None,
}  # fmt: skip
CONFIGS = {"eagle": EAGLE_CONFIG, "eagle3": EAGLE3_CONFIG, "medusa": MEDUSA_CONFIG}
SMALL = {**EAGLE_CONFIG, "hidden_size": 2048, "num_hidden_layers": 16, "head_dim": 64, "intermediate_size": 8192}


def head(method, **changes):
    return model_from_config({**CONFIGS[method], **changes}, name=f"lab/{method}-head")


def sized(method, draft, model=LLAMA, tokens=3, **overrides):
    stated = EngineOverrides(speculative_method=method, num_speculative_tokens=tokens, **overrides)
    return size_model(model, H100, stated, draft=draft)


@pytest.mark.parametrize(
    ("method", "whole", "half"),
    [
        ("eagle", 1_553_997_824, 810_557_440),
        ("eagle3", 1_900_308_480, 1_000_630_272),
        ("medusa", 3_252_682_752, 1_676_673_024),
    ],
)
def test_heads_for_llama_8b_hold_what_the_classes_of_vllm_0_32_allocate(method, whole, half):
    """Parameters of vLLM 0.32.0's classes on the meta device, in bfloat16, TP 1 and 2."""
    draft = as_head(head(method), method)
    assert [draft.weight_bytes(tensor_parallel=n) for n in (1, 2)] == [whole, half]


def test_two_layers_of_a_head_for_qwen3_hold_what_the_class_of_vllm_0_32_allocates():
    """Eagle3Qwen3ForCausalLM for Qwen3-0.6B: only the first layer reads embedding and hidden state side by side."""
    config = {
        **EAGLE3_CONFIG, "architectures": ["Eagle3Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024,
        "intermediate_size": 3072, "num_attention_heads": 16, "head_dim": 128, "num_hidden_layers": 2,
        "vocab_size": 151_936,
    }  # fmt: skip
    assert model_from_config(config, name="lab/qwen3-head").weight_bytes() == 454_566_912


def test_an_eagle_head_takes_the_embedding_of_its_model_and_a_rotary_cache_as_long_as_the_context():
    engine = sized("eagle3", head("eagle3")).engine
    assert draft_bytes(draft_as_loaded(head("eagle3"), LLAMA, engine), 1) == 1_900_308_480 - EMBEDDING + ROTARY
    staged = replace(engine, pipeline_parallel=2)
    assert draft_bytes(draft_as_loaded(head("eagle3"), LLAMA, staged), 1) == 1_900_308_480 + ROTARY


def test_medusa_loads_a_head_for_each_token_over_the_vocabulary_of_its_model():
    engine = sized("medusa", head("medusa"), tokens=2).engine
    assert draft_bytes(draft_as_loaded(head("medusa", vocab_size=32_001), LLAMA, engine), 1) == 2 * (
        EMBEDDING + 4096**2 * 2
    )


def test_the_layer_of_an_eagle_head_joins_the_cache_and_medusa_caches_nothing():
    assert sized("eagle3", head("eagle3")).memory.kv_bytes_per_token == 33 * 4096
    assert sized("medusa", head("medusa")).memory.kv_bytes_per_token == 32 * 4096


def test_a_smaller_model_as_draft_brings_its_own_weights_and_layers():
    draft = model_from_config(SMALL, name="lab/small")
    alone = size_model(LLAMA, H100, EngineOverrides()).memory
    both = sized("draft", draft).memory
    expected = (draft.weight_bytes() + 2048 * 64 * 2) / GIB
    assert both.weights_gib - alone.weights_gib == pytest.approx(expected, abs=1e-9)
    assert both.kv_bytes_per_token == 32 * 4096 + 16 * 2 * 8 * 64 * 2


def test_on_a_pipeline_the_last_stage_holds_the_draft_and_its_cache():
    draft = head("eagle3")
    model = LLAMA
    engine = sized("eagle3", draft, pipeline_parallel=2).engine
    from sizing.engine.draft_model import with_caches

    layout = cache_layout(with_caches(model, draft), engine, version_rules(engine.vllm_version))
    assert [layout.bytes_per_block(stage) // 65_536 for stage in pipeline_stages(32, 2)] == [16, 17]


def test_gpt_oss_with_a_head_pads_its_windows_to_thirteen_layers():
    """The example in vLLM's own source: 12 sliding and 13 full layers become groups of 13."""
    from sizing.engine.draft_model import with_caches

    config = {
        **EAGLE3_CONFIG, "hidden_size": 2880, "num_attention_heads": 64, "head_dim": 64, "intermediate_size": 17280,
        "vocab_size": 201_088, "draft_vocab_size": 64_000,
    }  # fmt: skip
    model, draft = CATALOGUE.model("openai/gpt-oss-20b"), model_from_config(config, name="lab/gpt-oss-head")
    engine = sized("eagle3", draft, model).engine
    layout = cache_layout(with_caches(model, draft), engine, version_rules(engine.vllm_version))
    assert [sum(len(page.layers) for page in group.pages) for group in layout.groups] in ([12, 13], [13, 12])
    assert layout.bytes_per_block(pipeline_stages(24, 1)[0]) == 13 * 16 * 8 * 64 * 2 * 2


def test_the_engine_is_told_the_draft_by_the_method_as_vllm_names_it():
    draft = model_from_config(SMALL, name="lab/small")
    args = engine_args(LLAMA, sized("draft", draft).engine)
    told = json.loads(args[args.index("--speculative-config") + 1])
    assert told == {"method": "draft_model", "model": "lab/small", "num_speculative_tokens": 3}


def longest(engine: EngineSettings, draft: ModelSpec | None = None) -> int:
    case = case_of(LLAMA, H100, engine, gpu_total_gib=None, weights_gib=None, draft=draft)
    return longest_that_fits(case, memory_budget(case))


def test_a_draft_shortens_the_longest_context():
    stated = EngineOverrides(gpu_memory_utilization=0.3, max_model_len=1024)
    alone = longest(resolve_engine(LLAMA, H100, stated))
    with_draft = sized("eagle3", head("eagle3"), gpu_memory_utilization=0.3, max_model_len=1024).engine
    assert longest(with_draft, head("eagle3")) < alone


@pytest.mark.parametrize(
    ("method", "draft", "changes", "said"),
    [
        ("eagle3", None, {}, "eagle3 without a draft model"),
        (None, head("eagle3"), {"num_speculative_tokens": None}, "state --speculative-method eagle3"),
        ("ngram", head("eagle3"), {}, "with method 'ngram'"),
        ("medusa", head("eagle3"), {}, "is no draft for medusa"),
        ("eagle3", head("eagle"), {}, "is no draft for eagle3"),
        ("draft", head("eagle3"), {}, "is no draft for draft"),
        ("draft", QWEN, {}, "use a draft of the same tokenizer"),
        ("medusa", head("medusa"), {"num_speculative_tokens": 4}, "limit: 3, heads of lab/medusa-head"),
        ("eagle3", head("eagle3", target_hidden_size=5120), {}, "another width than the 4096"),
        ("eagle", head("eagle", hidden_size=2048), {}, "another width than the 4096"),
        ("eagle3", head("eagle3", num_attention_heads=12, head_dim=128, num_key_value_heads=4), {"tensor_parallel": 8},
         "12 attention heads are not divisible by 8"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(method, draft, changes, said):
    stated = EngineOverrides(**{"speculative_method": method, "num_speculative_tokens": 3, **changes})
    with pytest.raises(BadInput) as refused:
        size_model(LLAMA, H100, stated, draft=draft)
    assert said in refused.value.line()


def test_a_head_is_not_served_alone():
    with pytest.raises(BadInput, match="serves nothing alone"):
        size_model(head("eagle3"), H100, EngineOverrides())


@pytest.mark.parametrize("method", ["eagle3", "medusa"])
@pytest.mark.parametrize("value", ["x", -1, True, 1 << 60, [], {}, 0.5])
def test_a_field_of_a_head_that_is_absurd_is_refused(method, value):
    fields = {
        "eagle3": ("draft_vocab_size", "target_hidden_size", "num_aux_hidden_states", "intermediate_size"),
        "medusa": ("hidden_size", "vocab_size", "num_heads", "num_hidden_layers"),
    }
    for field in fields[method]:
        with pytest.raises(BadInput):
            head(method, **{field: value})
