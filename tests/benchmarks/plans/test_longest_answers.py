"""No limit of the gateway cuts an answer that the plan allows: simulated on the planned replica at its most traffic."""

from __future__ import annotations

import pytest

from benchmarks.plans.problems import limits_of, requests_of, stepper
from benchmarks.simulator import Request, simulate
from sizing.catalogue import load_catalogue
from sizing.errors import NoPlan
from sizing.inputs import Capacity, ModelEntry, Objectives
from sizing.planning.search.enumeration import enumerate_options
from sizing.planning.search.options import Market
from sizing.planning.serving_plan import own_plan
from sizing.serving.gateway import request_timeout_s
from sizing.workload.workload import Workload

CATALOGUE = load_catalogue()
GENERATING = sorted(name for name in CATALOGUE.models if CATALOGUE.model(name).generates)
QUICK = ("Qwen/Qwen3-8B", "openai/gpt-oss-120b")
LONGEST = 1024
MOST_REQUESTS = 4000


def entry(name: str) -> ModelEntry:
    return ModelEntry(
        name="served",
        model=name,
        longest_output_tokens=min(LONGEST, CATALOGUE.model(name).max_position_embeddings // 2),
        workload=Workload(requests_per_second=1, input_tokens=300, output_tokens=100),
        objectives=Objectives(ttft_p95_ms=5_000, tpot_p95_ms=100),
    )


def longest_of(name: str) -> tuple[float, float]:
    """Return the seconds of the slowest of five longest answers among the most traffic, and the gateway's limit."""
    one, capacity = entry(name), Capacity(zones=1)
    options = enumerate_options(one, Market(capacity=capacity, region="us-east-1", catalogue=CATALOGUE), keep=1).options
    if not options:
        raise NoPlan(name, "no option")
    plan, replica = own_plan(one, options[0], capacity), options[0].engine.replica
    rate = options[0].engine.most.requests_per_s / replica.stages
    # others come for as long as the longest answer is expected to take, after those that fill the empty engine
    count = min(int(2 * rate * plan.longest_answer.total_s), MOST_REQUESTS)
    usual = requests_of(one.workload, rate, replica.longest, count, shape="exponential", seed=7)
    places = range(count // 5, count // 2, max(count // 16, 1))
    long = {place: Request(usual[place].arrival_s, 300, one.longest_output_tokens or 1) for place in places}
    requests = [long.get(place, each) for place, each in enumerate(usual)]
    outcomes = simulate(requests, limits_of(replica), stepper(replica.roofline), request_s=replica.speed.request_s)
    return max(outcomes[at].end_s - requests[at].arrival_s for at in long), request_timeout_s(plan.longest_answer)


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in QUICK else pytest.mark.rehearsal) for each in GENERATING]
)
def test_no_answer_within_the_longest_is_cut_by_the_gateway(name: str) -> None:
    took_s, limit_s = longest_of(name)
    assert took_s <= limit_s
    assert took_s > limit_s / 25, "a limit that no answer comes near says nothing"
