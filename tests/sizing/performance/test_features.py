"""Eager mode, LoRA adapters and drafted tokens change a step by what they read, compute and launch."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.plans.problems import observe, requests_of
from benchmarks.throughput.rows import DATA
from sizing.catalogue import load_catalogue
from sizing.engine.settings import resolve_engine
from sizing.errors import BadInput
from sizing.inputs import Capacity, EngineOverrides, ModelEntry
from sizing.models.spec import ModelSpec
from sizing.performance.constants import throughput_constants
from sizing.performance.queueing import most_traffic
from sizing.performance.replica import replica_with, step_work
from sizing.performance.roofline import Roofline, StepFeatures, closed_loop
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market
from sizing.workload.workload import Objectives, Workload
from tests.support.rooflines import LOAD
from tests.support.rooflines import SPEED as PLAIN

CATALOGUE = load_catalogue()
LLAMA, R1 = CATALOGUE.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOGUE.model("deepseek-ai/DeepSeek-R1")
SPEED = replace(
    PLAIN, launch_s=0.05, adapters_s=0.001, adapter_slot_s=2e-5, adapter_s=1e-4, adapter_flops_per_s=5e12,
    draft_pass_s=0.0005,
)  # fmt: skip
DRAFT = StepFeatures(draft_tokens=3, draft_passes=3, draft_bytes=1e9, draft_parameters=5e8, tokens_per_step=2.5)


def step_s(features: StepFeatures | None, batch: float = 1, context: float = 1000, **prompt: float) -> float:
    return Roofline(replace(LOAD, features=features), SPEED).step_s(batch, context, **prompt)


def engine(model: ModelSpec, gpu: str, tp: int = 1, **stated: object):
    overrides = EngineOverrides(max_model_len=8192, **stated)
    return resolve_engine(model, CATALOGUE.gpu(gpu), overrides, tensor_parallel=tp)


def test_eager_mode_waits_for_its_launches_only_where_the_card_is_faster_than_they_are():
    assert step_s(None) < 0.05 == step_s(StepFeatures(eager=True))
    assert step_s(StepFeatures(eager=True), batch=4000) == step_s(None, batch=4000) > 0.05


def test_a_step_reads_the_adapters_that_its_requests_chose():
    adapters = StepFeatures(slots=8, adapters=4, adapter_bytes=5e7, adapter_parameters=2.5e7)
    each, flops, always = 5e7 / 500e9 + 1e-4, 2 * 2.5e7 / 5e12, 0.001 + 8 * 2e-5
    assert step_s(adapters) - step_s(None) == pytest.approx(each + flops + always)
    chosen = 4 * (1 - 0.75**2)
    assert step_s(adapters, batch=2) - step_s(None, batch=2) == pytest.approx(chosen * each + 2 * flops + always)


def test_a_drafted_step_checks_every_token_at_once_and_reads_the_draft_for_each():
    alone = Roofline(LOAD, replace(SPEED, bandwidth_bytes_per_s=1e15, host_step_s=0.0))
    drafted = Roofline(replace(LOAD, features=DRAFT), alone.speed)
    checked = 4 * alone.step_s(1, 0)
    assert drafted.step_s(1, 0) == pytest.approx(checked + 3 * (2 * 5e8 / 50e12 + 0.0005), rel=1e-3)
    assert step_s(DRAFT) - step_s(None) == pytest.approx(3 * (1e9 / 500e9 + 0.0005), rel=0.02)


def test_answers_take_as_many_fewer_steps_as_tokens_are_accepted():
    free = replace(SPEED, draft_pass_s=0.0)
    rates = [
        closed_loop(
            Roofline(replace(LOAD, features=StepFeatures(draft_tokens=1, tokens_per_step=gained)), free),
            concurrency=1, slots=8, input_tokens=1, output_tokens=1000,
        ).output_tokens_per_s
        for gained in (1.0, 1.5)
    ]  # fmt: skip
    assert rates[1] / rates[0] == pytest.approx(1.5, rel=0.01)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 64))
def test_a_draft_of_which_more_is_accepted_is_never_slower(one: float, other: float, batch: int):
    few, many = (
        closed_loop(
            Roofline(replace(LOAD, features=replace(DRAFT, tokens_per_step=1 + 3 * share)), SPEED),
            concurrency=batch, slots=64, input_tokens=500, output_tokens=200,
        )
        for share in sorted((one, other))
    )  # fmt: skip
    assert many.tpot_s <= few.tpot_s * (1 + 1e-9)


def test_the_layer_that_drafts_is_read_once_a_token_with_its_experts_and_the_head():
    features = step_work(R1, engine(R1, "H200", 8, speculative_method="mtp", num_speculative_tokens=2,
                                speculative_acceptance=0.7)).features  # fmt: skip
    assert features is not None
    assert (features.draft_passes, features.tokens_per_step) == (2, pytest.approx(2.4))
    experts = 256 * 3 * 7168 * 2048 / 8
    assert features.draft_expert_bytes == pytest.approx(experts, rel=0.01)  # one byte each, and scales
    head = 129_280 * 7168 * 2 / 8
    joint = 2 * 7168**2 * 2  # the projection of hidden state and embedding, whole on every rank
    assert head + joint < features.draft_bytes < head + joint + 1e9 / 8


def test_an_adapter_is_as_large_as_its_slot_in_memory():
    features = step_work(LLAMA, engine(LLAMA, "L40S", max_loras=8, max_lora_rank=64)).features
    assert features is not None
    qkv, wide = 3 * 4096 + 4096 + 1024 + 1024, 3 * (4096 + 14336)  # an A and a B for each of the seven matrices
    vocabulary = 2 * (128_256 + 4096)
    assert features.adapter_parameters == 64 * (32 * (qkv + 2 * 4096 + wide) + vocabulary)
    assert (features.adapters, features.adapter_bytes) == (8, 2 * features.adapter_parameters)


def test_nothing_is_added_by_default():
    assert step_work(LLAMA, engine(LLAMA, "L40S")).features is None


def entry(**stated: object) -> ModelEntry:
    return ModelEntry(
        name="chat", model=LLAMA.name, workload=Workload(requests_per_second=2, input_tokens=900, output_tokens=250),
        objectives=Objectives(ttft_p95_ms=3000, tpot_p95_ms=60), engine=EngineOverrides(gpu="L40S", **stated),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "problem"),
    [
        ("ngram", "models.chat.engine.speculativeAcceptance: not stated, but 3 tokens are drafted; limit: 0 to 1"),
        ("eagle3", "models.chat.engine.speculativeMethod: eagle3 drafts with a model of its own"),
    ],
)
def test_a_plan_refuses_a_draft_whose_speed_it_cannot_tell(method, problem):
    asked = entry(speculative_method=method, num_speculative_tokens=3)
    with pytest.raises(BadInput, match=problem):
        enumerate_options(asked, Market(capacity=Capacity(), region="us-east-1", catalogue=CATALOGUE))


def test_an_acceptance_without_a_draft_is_refused():
    with pytest.raises(BadInput, match="no token is drafted"):
        engine(LLAMA, "L40S", speculative_acceptance=0.5)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_the_queue_meets_with_drafts_what_the_simulation_of_them_shows(share: float):
    settings = engine(LLAMA, "L40S", speculative_method="ngram", num_speculative_tokens=3, speculative_acceptance=share)
    replica = replica_with(LLAMA, CATALOGUE.gpu("L40S"), settings, kv_tokens=150_000)
    asked = entry().workload
    most = most_traffic(replica, asked, Objectives(ttft_p95_ms=3000, tpot_p95_ms=60))
    assert most is not None
    seen = observe(replica, requests_of(asked, most.requests_per_s, 8192, 1500, shape="exponential", seed=1))
    assert most.requests_tpot_p95_ms == pytest.approx(seen.tpot_p95_ms, rel=0.25)
    assert most.requests_ttft_p95_ms == pytest.approx(seen.ttft_p95_ms, rel=0.35)


RUNS = json.loads((DATA / "adapter-runs.json").read_text(encoding="utf-8"))["runs"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['model'].split('/')[1]} {run['after']}")
def test_published_steps_with_adapters_grow_as_the_constants_say(run):
    us, before, after = throughput_constants()["constants"], run["before"], run["after"]
    fewer, more = min(before["adapters"], run["in_flight"]), min(after["adapters"], run["in_flight"])
    idle = bool(not fewer and more)  # a run that uses no adapter replays graphs without them
    slots = after["slots"] - (0 if idle else before["slots"])
    each = idle * us["adapters.layer_us"] + slots * us["adapters.slot_us"] + (more - fewer) * us["adapters.each_us"]
    said, shown = run["layers"] * each / 1e3, after["step_ms"] - before["step_ms"]
    assert said >= shown if "on q, k, v and o" in run["note"] else said == pytest.approx(shown, rel=0.5)


DRAFTED = json.loads((DATA / "draft-runs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("run", DRAFTED["runs"], ids=lambda run: f"{run['in_flight']} x {run['input_tokens']}")
def test_published_drafts_save_as_much_time_per_token_as_predicted(run):
    draft = DRAFTED["draft"]
    plain = replica_with(LLAMA, CATALOGUE.gpu("A100-80GB"), engine(LLAMA, "A100-80GB"), kv_tokens=300_000)
    features = StepFeatures(
        draft_tokens=draft["tokens"], draft_passes=draft["tokens"], draft_bytes=draft["bytes"],
        draft_parameters=draft["parameters"], tokens_per_step=1 + draft["tokens"] * run["acceptance"],
    )  # fmt: skip
    drafted = replace(plain, work=replace(plain.work, features=features))
    said, shown = (
        [
            closed_loop(one.roofline, concurrency=run["in_flight"], slots=256, input_tokens=run["input_tokens"],
                        output_tokens=run[f"{name}output_tokens"]).tpot_s * 1e3
            for one, name in ((plain, ""), (drafted, "drafted_"))
        ],
        [run["tpot_ms"], run["drafted_tpot_ms"]],
    )  # fmt: skip
    assert said[1] / said[0] == pytest.approx(shown[1] / shown[0], rel=0.2)
