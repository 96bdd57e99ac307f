"""Advice: the measured workload is planned by the same planner, compared with keeping, and put in the stack's keys."""

from __future__ import annotations

import dataclasses

import pytest

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.inputs import Budget, Capacity, EngineOverrides, ModelEntry, ReplicaBounds
from sizing.observe.advice import Advice, advise, check_served, find_entry
from sizing.observe.advice_document import advice_document, changed_keys, entry_document
from sizing.observe.measured import Measured
from sizing.observe.running import Running
from sizing.planning.planner import plan_stack
from sizing.planning.request import PlanRequest
from sizing.workload.workload import Objectives, Workload

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
ENTRY = ModelEntry(
    name="chat", model=MODEL, workload=Workload(requests_per_second=12, input_tokens=900, output_tokens=250)
)
STACK = PlanRequest(
    stack="prod",
    models=(ENTRY,),
    capacity=Capacity(),
    budget=Budget(monthly_usd=45_000),
    region="us-east-1",
    vector_store=None,
    internet_facing=False,
    gateway_proxies=2,
    catalogue=load_catalogue(),
)
AS_PLANNED = Running(
    source="endpoint", rate_of="the last 60 s", seconds=60.0, requests=720, requests_per_s=12.0, judged_requests=720,
    input_tokens=900.0, output_tokens=250.0, prefix_share=0.0, ttft_p95_ms=200.0, tpot_p95_ms=30.0, running=20,
    waiting=0, kv_cache_usage=0.2, preemptions=0,
)  # fmt: skip


def stack(entry: ModelEntry = ENTRY, budget: float = 45_000) -> PlanRequest:
    return dataclasses.replace(STACK, models=(entry,), budget=Budget(monthly_usd=budget))


def measured(kv_tokens: int | None = None) -> Measured:
    return Measured(
        source="endpoint", vllm_version=None, model=MODEL, gpu_name=None, total_gib=None, settings={}, terms={},
        kv_tokens=kv_tokens, max_concurrency=None, graphs_in_budget=None,
    )  # fmt: skip


def advice(
    of: PlanRequest = STACK, kv_tokens: int | None = None, replicas: int | None = 1, **changes: object
) -> Advice:
    running = dataclasses.replace(AS_PLANNED, **changes)
    return advise(of, of.models[0], running, measured(kv_tokens), replicas=replicas)


def rate(per_second: float, seconds: float = 60.0) -> dict[str, object]:
    return {"requests_per_s": per_second, "requests": round(per_second * seconds), "seconds": seconds}


def workload(found: Advice) -> Workload:
    return found.answer.entry.workload


def test_traffic_as_planned_keeps_the_stack() -> None:
    answer = advice().answer
    assert (answer.change, answer.entry, answer.reasons) == (False, ENTRY, ())
    assert answer.planned == answer.kept == answer.proposed


def test_less_traffic_proposes_fewer_replicas_and_what_that_saves() -> None:
    found = advice(**rate(1.0))
    answer = found.answer
    assert answer.change
    assert workload(found).requests_per_second == 1.0
    assert answer.kept is not None
    assert answer.proposed is not None
    assert answer.saving == pytest.approx(answer.kept.usd_per_month.expected - answer.proposed.usd_per_month.expected)
    assert answer.saving > 0
    assert answer.reasons[0].startswith("traffic is 1 requests/s, planned 12: ")


def test_the_proposal_is_what_planning_the_proposed_stack_says() -> None:
    answer = advice(**rate(1.0)).answer
    plan = plan_stack(stack(answer.entry)).models[0]
    assert answer.proposed is not None
    assert answer.proposed.replicas == plan.replicas
    assert answer.proposed.usd_per_month.expected == pytest.approx(plan.usd_per_hour.expected * 730)


def test_a_few_requests_of_a_short_window_contradict_nothing() -> None:
    found = advice(requests_per_s=13.0, requests=13, seconds=1.0)
    assert found.answer.change is False
    assert found.findings[0].effect == "within the noise of 13 requests"


def test_no_request_at_all_is_planned_as_three_in_the_window() -> None:
    assert workload(advice(**rate(0.0))).requests_per_second == pytest.approx(3 / 60)


def test_longer_answers_raise_the_ceiling() -> None:
    found = advice(output_tokens=900.0)
    assert workload(found).output_tokens == 900
    assert found.answer.change
    assert "output tokens are 900, planned 250: " in found.answer.reasons[0]
    assert "ceiling " in found.answer.reasons[0]
    assert found.answer.proposed is not None
    assert found.answer.proposed.usd_per_month.expected > found.answer.planned.usd_per_month.expected


def test_a_prefix_that_is_often_found_is_planned_with_a_margin() -> None:
    assert workload(advice(prefix_share=0.628)).prefix_share == 0.62
    assert advice(prefix_share=0.04).answer.change is False
    found = next(one for one in advice(prefix_share=0.999).findings if one.name == "prefix_share")
    assert found.sentence == "prefix share is 1.00, planned 0"


def test_a_change_below_five_percent_keeps_the_stack_and_is_noted() -> None:
    found = advice(output_tokens=236.0)
    assert found.answer.change is False
    assert found.answer.entry == ENTRY
    assert "output tokens are 236, planned 250" in " ".join(found.notes)


def test_a_budget_that_breaks_is_told_with_the_smallest_that_works() -> None:
    leanest = plan_stack(STACK).burn_usd_per_hour.ceiling * 730
    found = advice(stack(budget=leanest * 1.1), output_tokens=900.0)
    assert found.answer.change
    assert found.answer.smallest_budget_usd is not None
    assert found.answer.smallest_budget_usd > leanest * 1.1
    assert "exceeded: the smallest that works is" in found.answer.reasons[-1]


def test_a_stated_ceiling_that_is_too_low_is_raised() -> None:
    planned = plan_stack(STACK).models[0]
    ceiling = planned.replicas.ceiling
    same = EngineOverrides(gpu=planned.gpu, tensor_parallel=planned.tensor_parallel, pipeline_parallel=1)
    entry = ENTRY.model_copy(update={"replicas": ReplicaBounds(ceiling=ceiling), "engine": same})
    found = advice(stack(entry, budget=450_000), **rate(60.0))
    raised = found.answer.entry.replicas.ceiling
    assert raised is not None
    assert raised > ceiling
    assert found.answer.kept is None
    assert ("replicas.ceiling", ceiling, raised) in changed_keys(
        entry_document(entry), entry_document(found.answer.entry)
    )


def test_a_stated_floor_is_kept_and_its_cost_noted() -> None:
    entry = ENTRY.model_copy(update={"replicas": ReplicaBounds(floor=4)})
    found = advice(stack(entry), **rate(1.0))
    assert found.answer.entry.replicas.floor == 4
    assert "replicas.floor 4 is stated and kept; the traffic needs 1" in " ".join(found.notes)


def test_a_missed_promise_tightens_its_objective_by_the_miss() -> None:
    found = advice(tpot_p95_ms=100.0)
    assert found.answer.change
    assert found.answer.entry.objectives.tpot_p95_ms == 64  # 80 x 80 / 100
    assert "TPOT p95 is 100 ms, promised 80" in found.answer.reasons[0]


def test_a_promise_missed_under_more_traffic_is_answered_by_the_traffic() -> None:
    found = advice(tpot_p95_ms=100.0, **rate(40.0))
    assert found.answer.entry.objectives == Objectives()
    assert workload(found).requests_per_second == 40.0


def test_a_promise_that_nothing_keeps_is_a_change_without_a_proposal() -> None:
    answer = advice(tpot_p95_ms=50_000.0).answer
    assert (answer.change, answer.proposed, answer.saving) == (True, None, None)
    assert "no plan carries the measured workload" in answer.reasons[-1]


def test_a_cache_with_room_and_requests_that_wait_raise_the_sequences() -> None:
    entry = ENTRY.model_copy(update={"engine": ENTRY.engine.model_copy(update={"max_num_seqs": 32})})
    tokens = round(plan_stack(stack(entry)).models[0].memory.kv_tokens * 1.18)
    found = next(one for one in advice(stack(entry), tokens, waiting=9).findings if one.name == "kv_tokens")
    assert found.sentence == "KV tokens are 18 % above the plan"
    assert found.effect.startswith(f"max_num_seqs 32 -> {min(tokens // (900 + 250) // 8 * 8, 64)}, ")
    idle = next(one for one in advice(stack(entry), tokens).findings if one.name == "kv_tokens")
    assert idle.effect == "nothing has to change"


def test_a_cache_below_its_p10_lowers_the_sequences() -> None:
    plan = plan_stack(STACK).models[0]
    found = next(one for one in advice(STACK, plan.memory.kv_tokens // 4).findings if one.name == "kv_tokens")
    assert found.sentence == "KV tokens are 75 % below the plan"
    assert found.effect.startswith(f"max_num_seqs {plan.engine.max_num_seqs} -> ")


def test_replicas_that_are_not_stated_are_those_that_the_plan_keeps() -> None:
    quiet = advice(replicas=None, **rate(0.01))
    assert quiet.replicas_running == max(plan_stack(STACK).models[0].replicas.floor, 1)
    full = advice(replicas=None, **rate(1000.0))
    assert full.replicas_running == plan_stack(STACK).models[0].replicas.ceiling


def test_a_log_without_traffic_compares_the_cache_alone() -> None:
    tokens = plan_stack(STACK).models[0].memory.kv_tokens
    found = advise(STACK, ENTRY, None, measured(tokens))
    assert found.answer.change is False
    assert found.notes == ("the log ends before any traffic: only the cache is compared",)
    with pytest.raises(BadInput, match="neither throughput nor the size of the cache"):
        advise(STACK, ENTRY, None, measured())


def test_the_entry_is_the_named_or_the_served_one() -> None:
    other = ENTRY.model_copy(update={"name": "other", "model": "Qwen/Qwen3-8B"})
    two = dataclasses.replace(STACK, models=(ENTRY, other))
    assert find_entry(two, "other", None) is other
    assert find_entry(two, None, MODEL) is ENTRY
    assert find_entry(two, None, "other") is other
    for name, served in ((None, None), (None, "x"), ("none", None)):
        with pytest.raises(BadInput, match="name one with --model: chat, other"):
            find_entry(two, name, served)


def test_an_engine_that_serves_another_model_is_refused() -> None:
    check_served(ENTRY, "/models/Llama-3.1-8B-Instruct", STACK.catalogue)
    check_served(ENTRY, "an-alias", STACK.catalogue)
    with pytest.raises(BadInput, match="the engine serves Qwen/Qwen3-8B"):
        check_served(ENTRY, "Qwen/Qwen3-8B", STACK.catalogue)


def test_the_document_has_the_keys_and_only_stated_ones_in_the_entry() -> None:
    document = advice_document(advice(**rate(1.0)))
    assert document.keys() == {
        "schema", "stack", "model", "source", "advice", "reasons", "saving_usd_per_month", "findings", "planned",
        "kept", "proposed", "budget", "entry", "proposed_entry", "changes", "measured", "notes",
    }  # fmt: skip
    assert document["entry"] == {
        "name": "chat", "model": MODEL, "workload": {"requestsPerSecond": 12, "inputTokens": 900, "outputTokens": 250},
    }  # fmt: skip
    assert document["changes"] == [{"key": "workload.requestsPerSecond", "from": 12, "to": 1}]


@pytest.mark.parametrize("rate_per_s", [1e-6, 0.013, 3.0, 900.0])
def test_any_rate_is_advised_upon(rate_per_s: float) -> None:
    found = advice(**rate(rate_per_s, 1e6))
    assert workload(found).requests_per_second >= rate_per_s * 0.999


def test_a_model_on_shared_nodes_is_weighed_by_its_part_of_them():
    pinned = EngineOverrides(tensor_parallel=4, pipeline_parallel=1)
    load = Workload(requests_per_second=0.05, input_tokens=900, output_tokens=250)
    lax = Objectives(ttft_p95_ms=20_000, tpot_p95_ms=200)
    big = "meta-llama/Llama-3.3-70B-Instruct"
    pair = tuple(ModelEntry(name=n, model=big, workload=load, objectives=lax, engine=pinned) for n in ("a", "b"))
    capacity = Capacity(gpus=("A100-40GB",), zones=1)
    of = dataclasses.replace(STACK, models=pair, capacity=capacity, budget=Budget(monthly_usd=100_000))
    running = dataclasses.replace(AS_PLANNED, requests_per_s=0.3, requests=300, seconds=1000.0)
    found = advise(of, pair[0], running, dataclasses.replace(measured(), model=big))
    half = load_catalogue().instance("p4d.24xlarge").on_demand_usd_per_hour["us-east-1"] / 2 * 730
    assert found.answer.planned.usd_per_month.expected == pytest.approx(half)
    assert found.answer.kept is not None
    assert found.answer.kept.usd_per_month.expected == pytest.approx(half)
