"""Memory by term: measured starts, monotonicity, refusals, the document of the command."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.folders import DATA
from benchmarks.memory import fit as fit_memory
from sizing.catalogue import load_catalogue
from sizing.engine.arguments import engine_args
from sizing.engine.settings import resolve_engine
from sizing.engine.versions import version_rules
from sizing.errors import BadInput
from sizing.inputs import EngineOverrides
from sizing.memory.document import size_document
from sizing.memory.estimate import estimate_memory
from sizing.memory.size import size_model
from sizing.memory.terms import captured_sizes
from sizing.models.parallelism import tensor_parallel_sizes
from tests.support.published import measured_starts
from tests.support.yardstick import cpu_seconds, million_squares

CATALOGUE = load_catalogue()
LLAMA = CATALOGUE.model("meta-llama/Llama-3.1-8B-Instruct")
BIG = CATALOGUE.model("meta-llama/Llama-3.3-70B-Instruct")
L4, H100 = CATALOGUE.gpu("L4"), CATALOGUE.gpu("H100")
ROWS = {row.facts["id"]: row for row in measured_starts()[0]}


def estimated(model=LLAMA, gpu=L4, **overrides):
    return estimate_memory(model, gpu, resolve_engine(model, gpu, EngineOverrides(**overrides)))


def test_llama_on_h100_with_vllm_0_19_is_within_half_a_gib_of_the_published_start():
    """llm-d, Llama-3.1-8B, H100, utilisation 0.95: weights 14.99, activation 1.89, KV 58.11 GiB, 476016 tokens."""
    memory = estimated(gpu=H100, vllm_version="0.19.0", gpu_memory_utilization=0.95)
    assert memory.weights_gib == pytest.approx(14.99, abs=0.01)
    assert memory.peak_activation_gib == pytest.approx(1.89, rel=0.1)
    assert memory.kv_cache_gib == pytest.approx(58.11, abs=0.5)
    assert memory.kv_tokens == pytest.approx(476_016, rel=0.01)


@pytest.mark.parametrize(
    "name",
    [
        "qwen3-30b-a3b-h100-80gb-sxm-tp2-0-12-0",
        "qwen2-5-coder-32b-instruct-awq-a100-40gb-sxm-tp1-0-13-0",
        "qwen2-5-1-5b-instruct-a10g-tp1-0-31-0",
        "qwen3-30b-a3b-instruct-2507-h100-80gb-sxm-tp1-0-10-2",
    ],
)
def test_the_cache_of_a_measured_start_is_predicted_within_three_percent_of_the_card(name):
    row = ROWS[name]
    measured = row.facts["measured"]
    assert row.estimate.weights_gib == pytest.approx(measured["weights_gib_per_gpu"], rel=0.035)
    assert abs(row.estimate.kv_cache_gib - measured["available_kv_gib"]) < 0.03 * row.total_gib


def test_no_recorded_failure_to_start_is_predicted_to_fit():
    failed = [row for row in ROWS.values() if "fits-no" in row.facts["usable_for"]]
    assert failed
    assert not [row.facts["id"] for row in failed if row.estimate.fits]


@given(seqs=st.integers(16, 1024), tokens=st.integers(1024, 16384), length=st.integers(256, 65536))
def test_more_requests_tokens_or_length_never_leave_more_cache(seqs, tokens, length):
    settings = {"max_num_seqs": seqs, "max_num_batched_tokens": tokens, "max_model_len": length}
    memory = estimated(gpu=H100, **settings)
    for key in ("max_num_seqs", "max_num_batched_tokens"):
        larger = estimated(gpu=H100, **{**settings, "max_num_batched_tokens": 16384 + tokens, key: settings[key] * 2})
        assert larger.kv_cache_gib <= memory.kv_cache_gib
    longer = estimated(gpu=H100, **{**settings, "max_model_len": length * 2})
    assert longer.kv_cache_gib == memory.kv_cache_gib
    assert longer.max_concurrency <= memory.max_concurrency


@given(low=st.floats(0.3, 0.97), more=st.floats(0, 0.02))
def test_a_larger_share_of_the_card_never_leaves_less_cache(low, more):
    assert (
        estimated(gpu=H100, gpu_memory_utilization=low + more).kv_cache_gib
        >= estimated(gpu=H100, gpu_memory_utilization=low).kv_cache_gib
    )


@pytest.mark.parametrize("name", CATALOGUE.models)
def test_more_ranks_never_need_more_per_rank_beyond_what_every_rank_repeats(name):
    model, previous = CATALOGUE.model(name), None
    for size in tensor_parallel_sizes(model, 8):
        memory = estimated(model, H100, tensor_parallel=size)
        repeated = memory.non_torch_gib
        demand = memory.weights_gib + memory.peak_activation_gib
        assert previous is None or demand <= previous + repeated
        previous = demand


@given(st.sampled_from(CATALOGUE.models), st.sampled_from(CATALOGUE.gpus), st.integers(256, 40960))
def test_terms_add_up_and_the_interval_holds_the_prediction(name, gpu, length):
    model = CATALOGUE.model(name)
    memory = estimated(model, gpu, max_model_len=min(length, model.max_position_embeddings))
    used = memory.weights_gib + memory.peak_activation_gib + memory.non_torch_gib + memory.cuda_graph_gib
    assert memory.requested_gib == pytest.approx(used + memory.kv_cache_gib)
    assert memory.kv_cache_gib_interval.p10 <= memory.kv_cache_gib <= memory.kv_cache_gib_interval.p90
    assert memory.fits == (memory.max_concurrency >= 1)


def test_a_context_that_does_not_fit_says_the_longest_that_does_and_that_length_fits():
    memory = estimated()
    engine = resolve_engine(LLAMA, L4, EngineOverrides())
    assert not memory.fits
    assert memory.binding == "kv_cache"
    told = re.match(r"max-model-len 131072 -> (\d+) is the largest that fits", "\n".join(memory.hints))
    assert told is not None
    longest = int(told[1])
    assert estimate_memory(LLAMA, L4, replace(engine, max_model_len=longest)).fits
    assert not estimate_memory(LLAMA, L4, replace(engine, max_model_len=longest + 16)).fits


def test_a_model_too_large_for_the_card_names_the_tensor_parallel_size_that_fits():
    memory = estimated(BIG, CATALOGUE.gpu("L40S"), max_model_len=8192)
    assert (memory.fits, memory.binding) == (False, "weights")
    assert any(hint.startswith("tensor-parallel 4 fits") for hint in memory.hints)


def test_graphs_are_taken_from_the_cache_since_0_21_and_lie_outside_before():
    before = estimated(vllm_version="0.20.1", max_model_len=8192)
    since = estimated(vllm_version="0.21.0", max_model_len=8192)
    assert since.cuda_graph_gib > 0
    assert before.kv_cache_gib - since.kv_cache_gib == pytest.approx(since.cuda_graph_gib)
    assert estimated(enforce_eager=True).cuda_graph_gib == 0


@pytest.mark.parametrize(
    ("gpu", "tokens", "seqs"),
    [("L4", 2048, 256), ("A100-80GB", 2048, 256), ("H100", 8192, 1024), ("H200", 8192, 1024), ("B200", 16384, 1024)],
)
def test_batch_defaults_follow_the_memory_of_the_card(gpu, tokens, seqs):
    engine = resolve_engine(LLAMA, CATALOGUE.gpu(gpu), EngineOverrides())
    assert (engine.max_num_batched_tokens, engine.max_num_seqs) == (tokens, seqs)


def test_t4_runs_in_half_precision_and_every_setting_is_a_flag():
    engine = resolve_engine(LLAMA, CATALOGUE.gpu("T4"), EngineOverrides(enforce_eager=True, tensor_parallel=4))
    args = engine_args(LLAMA, engine)
    assert args[:4] == ("--dtype", "float16", "--tensor-parallel-size", "4")
    assert args[-1] == "--enforce-eager"


def test_versions_before_0_6_are_refused_and_newer_ones_follow_the_newest_known_rules():
    with pytest.raises(BadInput, match=r"0\.6\.0 or newer"):
        version_rules("0.5.5")
    with pytest.raises(BadInput, match="not a version"):
        version_rules("latest")
    assert version_rules("0.99.0") == version_rules("0.32.0")
    assert version_rules("v0.26.1rc1.dev156+g0eec").cuda_graphs == "inside"
    sizing = size_model(LLAMA, L4, EngineOverrides(vllm_version="0.99.0", max_model_len=4096))
    assert "newer than" in sizing.notes[0]


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ({"tensor_parallel": 3}, "not divisible"),
        ({"pipeline_parallel": 64}, "32, the layers"),
        ({"max_model_len": 131_088}, "131072, the context"),
        ({"max_num_seqs": 512, "max_num_batched_tokens": 256}, "below max-num-seqs"),
    ],
)
def test_settings_that_cannot_be_are_refused(overrides, names):
    with pytest.raises(BadInput, match=names):
        estimated(**overrides)


def test_overrides_replace_the_card_and_the_weights():
    sizing = size_model(LLAMA, L4, EngineOverrides(max_model_len=4096), gpu_total_gib=30.0, weights_gib=10.0)
    assert (sizing.memory.total_gib, sizing.memory.weights_gib) == (30.0, 10.0)
    with pytest.raises(BadInput, match="weights-gib"):
        size_model(LLAMA, L4, EngineOverrides(), weights_gib=-1.0)


def test_the_document_has_the_keys_of_the_contract_and_names_the_source_of_every_input():
    document = json.loads(json.dumps(size_document(size_model(LLAMA, L4, EngineOverrides(max_model_len=8192)))))
    assert {"fits", "per_gpu", "kv", "interval", "binding", "hints", "inputs", "schema"} <= set(document)
    assert set(document["per_gpu"]) == {
        "total_gib", "requested_gib", "weights_gib", "peak_activation_gib", "non_torch_gib", "cuda_graph_gib",
        "kv_cache_gib",
    }  # fmt: skip
    assert set(document["kv"]) == {"tokens", "max_concurrency", "bytes_per_token"}
    low, high = document["interval"]["kv_cache_gib"]
    assert low < document["per_gpu"]["kv_cache_gib"] < high
    assert all(entry["source"] for entry in document["inputs"].values())


def test_captured_sizes_are_those_that_vllm_lists():
    assert [captured_sizes(seqs) for seqs in (1, 8, 64, 256, 1024)] == [2, 5, 19, 51, 51]


def test_a_hundred_estimates_take_no_longer_than_a_million_squares():
    engine = resolve_engine(BIG, H100, EngineOverrides(tensor_parallel=4))
    estimating = cpu_seconds(lambda: [estimate_memory(BIG, H100, engine) for _ in range(100)])
    assert estimating < cpu_seconds(million_squares)


def test_the_committed_constants_are_what_the_fit_writes_and_say_where_each_comes_from():
    current = json.loads(fit_memory.CONSTANTS.read_text("utf-8"))
    facts = [json.loads(line) for line in (DATA / "memory-logs.jsonl").read_text("utf-8").splitlines()]
    assert fit_memory.fit(list(ROWS.values()), facts, current) == current
    assert all(current["provenance"].values())


def test_the_spread_holds_the_measured_cache_of_most_starts_that_were_not_fitted():
    held = [row for row in ROWS.values() if not row.fitted and row.measured("available_kv_gib")]
    held = [row for row in held if "kv-gib" in row.facts["usable_for"]]
    inside = [row for row in held if fit_memory.cache_is_inside(row)]
    assert len(inside) >= 0.75 * len(held)
