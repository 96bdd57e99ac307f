"""gpt-oss: parameters, padded experts, groups of windows and full layers as vLLM printed them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sizing.engine.versions import version_rules
from sizing.errors import BadInput
from sizing.memory.kv_cache import cache_layout
from sizing.models.from_config import model_from_config
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings

CONFIG = Path(__file__).parents[4] / "benchmarks" / "data" / "configs" / "openai--gpt-oss-120b.json"
OSS_120B = json.loads(CONFIG.read_text())["config"]
GIB = 1 << 30
ENGINE = {
    "pipeline_parallel": 1, "max_num_seqs": 256, "gpu_memory_utilization": 0.9, "kv_cache_dtype": "auto",
    "enforce_eager": False, "dtype": "auto",
}  # fmt: skip


def described(**changes):
    return model_from_config({**OSS_120B, **changes}, name="changed")


def test_parameters_are_those_of_the_published_models():
    assert described().parameters == 116_829_156_672
    layers = OSS_120B["layer_types"][:24]
    small = described(num_hidden_layers=24, num_local_experts=32, layer_types=layers)
    assert small.parameters == 20_914_757_184


@pytest.mark.parametrize(("ranks", "measured"), [(1, 65.9651), (4, 17.2217)])
def test_marlin_pads_the_experts_to_what_was_measured(ranks, measured):
    model = described()
    loaded = (model.weight_bytes(tensor_parallel=ranks) + model.rotary_bytes) / GIB
    assert loaded == pytest.approx(measured, rel=0.001)


@pytest.mark.parametrize(
    ("log", "kv_gib", "blocks", "concurrency"),
    [
        (("0.15.1", 2, 131_072, 8192), 77.93, 283_734, 32.56),
        (("0.10.1", 4, 16_384, 2048), 45.32, 330_010, 284.25),
    ],
)
def test_blocks_and_concurrency_are_those_of_the_log(log, kv_gib, blocks, concurrency):
    version, ranks, length, batched = log
    engine = EngineSettings(
        vllm_version=version, tensor_parallel=ranks, max_model_len=length, max_num_batched_tokens=batched, **ENGINE
    )
    layout = cache_layout(described(), engine, version_rules(version))
    found = int(kv_gib * GIB // layout.bytes_per_block(Stage(first=0, layers=36, of=36)))
    assert found == blocks
    assert found / layout.blocks_per_request == pytest.approx(concurrency, abs=0.005)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"layer_types": ["full_attention"] * 36}, "layer_types"),
        ({"layer_types": "sliding"}, "layer_types"),
        ({"sliding_window": None}, "sliding_window"),
        ({"num_local_experts": True}, "num_local_experts"),
        ({"num_experts_per_tok": 129}, "num_experts_per_tok"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(changes, names):
    with pytest.raises(BadInput, match=names):
        described(**changes)
