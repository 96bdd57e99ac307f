"""The memory benchmark: errors are what they should be for known answers, and the page depends on the scores alone."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import pytest

from benchmarks.memory.benchmark import check_source, run
from benchmarks.memory.cases import Start, weight_bits
from benchmarks.memory.peers import PEERS, peer
from benchmarks.memory.peers.answer import answer
from benchmarks.memory.peers.case import GIB, Case, Prediction
from benchmarks.memory.peers.environments import NotRun, ask
from benchmarks.memory.report import Results, document, targets
from benchmarks.memory.score import (
    COLUMNS,
    OURS,
    coverage,
    errors,
    false_fits,
    refused_successes,
    where_peers_are_better,
)

LLAMA_8B = Case(
    name="llama-3-1-8b-h100",
    model="meta-llama/Llama-3.1-8B",
    family="dense-gqa",
    config={
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    },
    gpu="H100-80GB", total_gib=80.0, quantisation="none", weight_bits=16, tensor_parallel=1, pipeline_parallel=1,
    max_model_len=8192, max_num_seqs=256, max_num_batched_tokens=8192, gpu_memory_utilization=0.9,
    kv_cache_dtype="auto", vllm_version="0.10.0", parameters=8 * GIB, checkpoint_bytes=16 * GIB, kv_gib=50.0,
)  # fmt: skip


def start(name: str, *, failed: bool = False, fitted: bool = False, **measured: float) -> Start:
    purposes = ["weights", "kv-gib", "kv-tokens", "fits-no" if failed else "fits-yes"]
    facts = {
        "id": name, "family": "dense-gqa", "engine": "V1", "vllm_version": "0.10.0", "notes": None,
        "usable_for": purposes, "measured": measured,
    }  # fmt: skip
    return Start(facts=facts, fitted=fitted, case=dataclasses.replace(LLAMA_8B, name=name))


STARTS = [
    start("a", weights_gib_per_gpu=16.0, available_kv_gib=50.0, kv_tokens=400_000),
    start("b", weights_gib_per_gpu=10.0, available_kv_gib=40.0, peak_activation_gib=2.0),
    start("c", failed=True),
]
RIGHT = {
    "a": Prediction(weights_gib=16.0, kv_gib=50.0, kv_gib_p10=49.0, kv_gib_p90=51.0, kv_tokens=400_000, fits=True),
    "b": Prediction(weights_gib=10.0, kv_gib=40.0, kv_gib_p10=39.0, kv_gib_p90=39.5, activation_gib=2.0, fits=True),
    "c": Prediction(fits=True, fits_at_p90=False),
}
WRONG = {
    "a": Prediction(weights_gib=20.0, kv_gib=42.0, kv_tokens=300_000, fits=True),
    "b": Prediction(weights_gib=5.0, kv_gib=44.0, fits=False),
    "c": Prediction(fits=True),
}


def results() -> Results:
    wrong = SimpleNamespace(
        NAME="a wrong one", VERSION="1", LICENCE="none", SOURCE="-", FED="by hand", __name__="peers.wrong", PACKAGES=()
    )
    absent = SimpleNamespace(
        NAME="an absent one", VERSION="2", LICENCE="none", SOURCE="-", FED="-", __name__="peers.absent", PACKAGES=("x",)
    )
    return Results(
        starts=STARTS, predictions={OURS: RIGHT, "wrong": WRONG}, peers={"wrong": wrong, "absent": absent},
        not_run={"absent": "its environment is not made"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "right", "wrong"),
    [
        ("weights", {"a": 0.0, "b": 0.0}, {"a": 0.25, "b": 0.5}),
        ("activation", {"b": 0.0}, {}),
        ("cache", {"a": 0.0, "b": 0.0}, {"a": 0.1, "b": 0.05}),
        ("tokens", {"a": 0.0}, {"a": 0.25}),
        ("requests", {}, {}),
    ],
)
def test_a_wrong_predictor_is_scored_by_how_wrong_it_is(key: str, right: dict, wrong: dict) -> None:
    column = next(column for column in COLUMNS if column.key == key)
    assert errors(column, STARTS, RIGHT).by_row == right
    assert errors(column, STARTS, WRONG).by_row == pytest.approx(wrong)


def test_verdicts_are_counted_against_what_happened() -> None:
    assert refused_successes(STARTS, WRONG).wrong == ("b",)
    assert refused_successes(STARTS, RIGHT).wrong == ()
    assert false_fits(STARTS, RIGHT).wrong == ("c",)
    assert false_fits(STARTS, RIGHT, cautious=True).wrong == ()
    assert coverage(STARTS, RIGHT).wrong == ("b",)


def test_a_peer_that_is_better_is_named_with_the_rows() -> None:
    found = where_peers_are_better(STARTS, {OURS: WRONG, "good": RIGHT})
    assert {(item.column, item.statistic) for item in found} >= {("weights", "median"), ("refused starts", "count")}
    weights = next(item for item in found if (item.column, item.statistic) == ("weights", "median"))
    assert (weights.theirs, weights.ours, weights.n) == (0.0, 0.25, 2)
    assert weights.because[0] == "b (0.0% against 50.0%)"
    assert where_peers_are_better(STARTS, {OURS: RIGHT, "bad": WRONG}) == []


def test_the_page_is_the_same_twice_and_says_who_did_not_run() -> None:
    page = document(results())
    assert page == document(results())
    assert "not run: its environment is not made" in page
    assert "| a wrong one | 25% / 50% (2) |" in page
    assert [target.kept for target in targets(results())][:2] == [True, True]


def test_ours_alone_makes_a_page_of_the_recorded_starts() -> None:
    alone = run([], offline=True)
    assert len(alone.starts) == 124
    page = document(alone)
    assert "| **Tonnage** |" in page
    assert sum(start.ours is not None or bool(start.left_out) for start in alone.starts) == 124


def test_the_textbook_rules_compute_known_inputs() -> None:
    fifth = peer("parameters_and_a_fifth").predict(LLAMA_8B)
    assert (fifth.weights_gib, fifth.fits) == (16.0, True)
    assert peer("parameters_and_a_fifth").predict(dataclasses.replace(LLAMA_8B, total_gib=19.0)).fits is False
    layers = peer("two_layers_hidden").predict(LLAMA_8B)
    assert layers.kv_tokens == 50 * GIB / (2 * 32 * 4096 * 2)
    assert peer("ninety_percent").predict(LLAMA_8B).kv_gib == pytest.approx(72.0 - 16.0)


def test_the_rules_written_from_sources_compute_known_inputs() -> None:
    kaito = peer("kaito").predict(LLAMA_8B)
    assert kaito.weights_gib == pytest.approx(16 * 1.02)
    assert kaito.kv_gib == pytest.approx(72.0 - 2.3 - 16 * 1.02 * 1.05)
    llm_d = peer("llm_d").predict(LLAMA_8B)
    assert (llm_d.activation_gib, llm_d.kv_gib) == (4.8, pytest.approx(72.0 - 16.0 - 4.8 - 0.15))
    for name in ("kaito", "llm_d", "gguf_parser"):
        assert peer(name).predict(LLAMA_8B).kv_tokens == pytest.approx(50 * GIB / (2 * 32 * 8 * 128 * 2))


def test_what_a_peer_raises_is_a_refusal_with_a_reason() -> None:
    assert answer(peer("kaito"), dataclasses.replace(LLAMA_8B, checkpoint_bytes=None)).refused
    bare = dataclasses.replace(LLAMA_8B, config={})
    assert answer(peer("two_layers_hidden"), bare).refused == "no num_hidden_layers in the config"


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_says_what_it_is(name: str) -> None:
    module = peer(name)
    assert all(
        isinstance(value, str) for value in (module.NAME, module.VERSION, module.LICENCE, module.SOURCE, module.FED)
    )
    assert all("==" in package for package in module.PACKAGES)


def test_a_packaged_peer_without_its_environment_is_not_run(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TONNAGE_PEERS", str(tmp_path))
    with pytest.raises(NotRun, match="its environment is not made"):
        ask("servcalc", peer("servcalc"), [LLAMA_8B], offline=True)


def test_a_source_that_is_not_there_is_said_and_stops_nothing(tmp_path, capsys) -> None:
    check_source(peer("kaito"), tmp_path, offline=True)
    assert "source not checked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("quantization", "model", "bits"),
    [("none", "x", 16), (None, "x", 16), ("fp8", "x", 8), ("awq_marlin", "x", 4), ("compressed-tensors", "x-INT4", 4),
     ("compressed-tensors", "x-FP8", 8), ("fp8 + mxfp4 experts", "x", 4)],
)  # fmt: skip
def test_bits_of_a_weight_follow_the_names(quantization: str | None, model: str, bits: int) -> None:
    assert weight_bits({"quantization": quantization, "model": model}) == bits


def test_nothing_to_compare_is_not_a_number() -> None:
    column = COLUMNS[0]
    assert math.isnan(errors(column, [], {}).median)
