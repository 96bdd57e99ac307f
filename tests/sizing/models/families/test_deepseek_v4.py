"""DeepSeek-V4: weights as vLLM builds them, caches packed into one block, older versions and wrong fields refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.engine.versions import version_rules
from sizing.errors import BadInput, TonnageError
from sizing.memory.estimate import estimate_memory
from sizing.memory.kv_cache import cache_layout
from sizing.models.from_config import model_from_config
from sizing.models.weight_groups import Stage
from sizing.plan import EngineSettings

CONFIG = Path(__file__).parents[4] / "benchmarks" / "data" / "configs" / "deepseek-ai--DeepSeek-V4-Flash.json"
FLASH = json.loads(CONFIG.read_text())["config"]
ENGINE = EngineSettings(
    vllm_version="0.32.0", tensor_parallel=2, pipeline_parallel=1, max_model_len=1_048_576, max_num_seqs=256,
    max_num_batched_tokens=8192, gpu_memory_utilization=0.9, kv_cache_dtype="auto", enforce_eager=False, dtype="auto",
)  # fmt: skip


def described(**changes):
    return model_from_config({**FLASH, **changes}, name="changed")


@pytest.mark.parametrize(
    ("ranks", "recorded"), [(1, 156_006_389_980), (2, 78_656_962_140), (4, 39_982_248_220), (8, 20_644_891_260)]
)
def test_weights_are_those_that_vllm_builds(ranks, recorded):
    assert described().weight_bytes(tensor_parallel=ranks) == pytest.approx(recorded, rel=2e-5)


@pytest.mark.parametrize(("length", "blocks"), [(1_048_576, 10_778), (8192, 3364)])
def test_a_request_takes_the_blocks_that_vllm_counts(length, blocks):
    engine = EngineSettings(**{**vars(ENGINE), "max_model_len": length})
    layout = cache_layout(described(), engine, version_rules("0.32.0"))
    assert layout.blocks_per_request == blocks
    assert layout.bytes_per_block(Stage(first=0, layers=43, of=43)) == 1_002_240
    counts = sorted(sum(len(page.layers) for page in group.pages) for group in layout.groups)
    assert counts == [20, 21, 22, 42, 62]


def test_an_older_version_is_refused_because_it_lays_the_caches_out_otherwise():
    older = EngineSettings(**{**vars(ENGINE), "vllm_version": "0.22.0"})
    with pytest.raises(BadInput, match=r"0\.22\.0 lays out the caches of DeepseekV4ForCausalLM"):
        estimate_memory(described(), load_catalogue().gpu("H200"), older)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"compress_ratios": [4] * 3}, "compress_ratios"),
        ({"compress_ratios": [8] * 44}, "compress_ratios"),
        ({"o_groups": 0}, "o_groups"),
        ({"hc_mult": None}, "hc_mult"),
        ({"sliding_window": "128"}, "sliding_window"),
        ({"index_head_dim": -1}, "index_head_dim"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_name(changes, names):
    with pytest.raises(BadInput, match=names):
        described(**changes)


@given(st.dictionaries(st.sampled_from(sorted(FLASH)), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2), max_leaves=4,
), max_size=3))  # fmt: skip
def test_any_change_of_a_field_gives_a_model_or_a_refusal(changes):
    with contextlib.suppress(TonnageError):
        assert described(**changes).weight_bytes() > 0
