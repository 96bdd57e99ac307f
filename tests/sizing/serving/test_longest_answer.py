"""How long an answer may last, how long a replica drains, and which answers a leaving replica cuts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, NoPlan
from sizing.inputs import Capacity, ModelEntry
from sizing.planning.planner import plan_model
from sizing.planning.search.options import Market
from sizing.serving.lifecycle import check_interrupted_share, drain, drained_s, interrupted_share
from sizing.serving.longest_answer import check_longest_answer, longest_answer, longest_tokens
from sizing.workload.lengths import share_left
from sizing.workload.workload import Workload
from tests.support.plans import serving_plan

CATALOGUE = load_catalogue()
LLAMA, BGE = CATALOGUE.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOGUE.model("BAAI/bge-m3")


def entry(longest: int | None = None, output_tokens: int = 250) -> ModelEntry:
    workload = Workload(requests_per_second=2, input_tokens=900, output_tokens=output_tokens)
    return ModelEntry(name="chat", model=LLAMA.name, longest_output_tokens=longest, workload=workload)


def test_an_answer_lasts_its_wait_its_first_token_and_all_of_its_tokens():
    found = longest_answer(entry(2000), 2000, queue_s=3.2, first_token_s=1.5, token_ms=40)
    assert (found.total_s, found.stated) == (math.ceil(3.2 + 1.5 + 80), True)


def test_the_longest_is_what_is_stated_else_a_whole_context_and_a_vector_is_one_token():
    assert [longest_tokens(entry(stated), LLAMA, 8192) for stated in (2000, None)] == [2000, 8192]
    assert longest_tokens(entry(), BGE, 8192) == 1


def test_a_longest_answer_that_the_context_cannot_hold_is_refused():
    with pytest.raises(BadInput, match=r"models.chat.longestOutputTokens: 8192 tokens leave no room for a prompt"):
        check_longest_answer(entry(8192), LLAMA, 8192)
    with pytest.raises(BadInput, match="answers with a vector or a score; limit: 1; hint: leave it out"):
        check_longest_answer(entry(500), BGE, 8192)


def test_a_longest_answer_below_the_stated_lengths_is_refused():
    with pytest.raises(ValueError, match=r"longestOutputTokens is 100, but workload.outputTokens is 250"):
        entry(100)


def test_a_replica_drains_for_the_longest_answer_within_what_its_node_allows():
    assert drained_s(drain(200, spot=False)) == 215
    assert drained_s(drain(200, spot=True)) == 95
    assert drain(9000, spot=False).grace_period_s == 840
    assert drain(9000, spot=True).grace_period_s == 110


def test_what_is_cut_are_the_answers_with_more_before_them_than_the_drain_gives():
    # exponential lengths have no memory: what lies before an answer in flight is distributed as a whole one
    assert share_left(2.0, None, 1e9) == pytest.approx(math.exp(-2))
    leave = drain(9000, spot=True)
    workload = Workload(requests_per_second=2, input_tokens=900, output_tokens=1000)
    assert interrupted_share(workload, leave, 95.0, 10**9) == pytest.approx(math.exp(-1))
    assert interrupted_share(workload, leave, 95.0, 1000) == 0


@given(st.floats(0.01, 20), st.one_of(st.none(), st.floats(1, 3.5)), st.floats(1, 40))
def test_a_share_is_one_and_falls_with_the_drain(over_mean: float, ratio: float | None, longest: float):
    share = share_left(over_mean, ratio, longest)
    assert 0 <= share <= 1
    assert share_left(over_mean * 1.5, ratio, longest) <= share + 1e-12


def test_spot_that_cuts_more_answers_than_stated_is_refused_with_three_ways_out():
    plan = replace(serving_plan(), interrupted_share=0.25)
    check_interrupted_share(plan, None)
    check_interrupted_share(plan, 0.25)
    with pytest.raises(NoPlan) as refused:
        check_interrupted_share(plan, 0.2)
    line = refused.value.line()
    assert line.startswith("models.chat: a reclaim of a spot node cuts 25.0% of the answers in flight: it leaves them ")
    assert "limit: capacity.interruptedShare 20.0%; hint: state capacity.spotShare: 0, a smaller longestOutput" in line


def test_a_stated_share_refuses_long_answers_on_spot_and_takes_them_on_demand():
    def planned(spot_share: float, longest: int | None = None):
        capacity = Capacity(gpus=("L4", "A10G"), zones=1, spot_share=spot_share, interrupted_share=0.01)
        market = Market(capacity=capacity, region="us-east-1", catalogue=CATALOGUE)
        return plan_model(entry(longest, output_tokens=2000), market, top=0).chosen

    with pytest.raises(NoPlan, match="a reclaim of a spot node cuts"):
        planned(1)
    assert planned(0).interrupted_share < 0.01
