"""Our plan and the peers' picks: one bill, one judge, and a page that says what was found."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from functools import lru_cache

import pytest

from benchmarks.peers import Refused
from benchmarks.plans import ask as plan_ask
from benchmarks.plans import judge as plan_judge
from benchmarks.plans.ask import ask, question_for
from benchmarks.plans.judge import (
    OWN,
    PLANNED,
    SIMULATED,
    Fleet,
    Standing,
    as_stated,
    bought,
    engine_of,
    fewest,
    standing,
)
from benchmarks.plans.peers import PEERS, peer
from benchmarks.plans.peers.documented import projects
from benchmarks.plans.peers.question import Answer, Pick, answer, answer_of, question_of
from benchmarks.plans.problems import Seen
from benchmarks.plans.report import Compared, Results, document, targets
from benchmarks.plans.workloads import CAPACITY, CASES, REGION, plan_catalogue
from benchmarks.simulator import Request
from sizing.planning.planner import plan_model
from sizing.planning.search.options import Market

CASE = CASES[1]
EIGHT = CASE.entry.model
ON_L40S = Pick(checkpoint=EIGHT, gpu="L40S", tensor_parallel=1)


class _Peer:
    NAME, VERSION, LICENCE, SOURCE, FED, PACKAGES = "Example", "1", "MIT", "https://example.org", "as it is", ()

    def picks(self, question):
        if question.name != CASE.name:
            raise Refused("only chat")
        return [ON_L40S]


@pytest.fixture
def by_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation in which TTFT is 100 ms for each request per second, and TPOT 10 ms."""
    plan_judge._observed.cache_clear()
    monkeypatch.setattr(plan_judge, "requests_of", lambda _, rate, *__, **___: rate)
    monkeypatch.setattr(plan_judge, "as_stated", lambda rate, *_: rate)
    monkeypatch.setattr(plan_judge, "observe", lambda _, rate: Seen(100 * rate, 10))


def fleet(usd: float, *, ttft: float = 0.5, slow: float = 0.9, replicas_by: str = OWN) -> Fleet:
    return Fleet(
        pick=ON_L40S, instance_type="g6e.xlarge", gpus_per_node=1, nodes=4, replicas=4, replicas_by=replicas_by,
        usd_per_hour=usd, seen=Seen(1500 * ttft, 30), ttft_share=ttft, tpot_share=0.5, slow_share=slow,
    )  # fmt: skip


@lru_cache
def planned():
    return plan_model(CASE.entry, Market(capacity=CAPACITY, region=REGION, catalogue=plan_catalogue()), top=0).chosen


def compared(ours: float, *theirs: Fleet | str, meets: bool = True) -> Compared:
    peers = {f"p{i}": Standing(reason=f) if isinstance(f, str) else Standing(fleet=f)
             for i, f in enumerate(theirs)}  # fmt: skip
    return Compared(
        case=CASE, plan=planned(), alternatives=(), ours=fleet(ours, ttft=0.5 if meets else 1.2, replicas_by=PLANNED),
        ours_fewest=None, spot_usd_per_hour=1.0, peers=peers,
    )  # fmt: skip


def results(*found: Compared) -> Results:
    return Results(compared=found, peers={name: _Peer() for one in found for name in one.peers})


def test_a_fleet_is_bought_in_whole_nodes_of_the_cheapest_type_that_holds_the_engine() -> None:
    wide = Pick(checkpoint=EIGHT, gpu="A100-40GB", tensor_parallel=4)
    usd, instance, nodes = bought(wide, 3)
    assert (instance.instance_type, nodes) == ("p4d.24xlarge", 2)
    assert usd == 2 * instance.on_demand_usd_per_hour[REGION]
    assert bought(ON_L40S, 3)[1].instance_type == "g6e.xlarge"
    assert bought(replace(ON_L40S, instance_type="g6e.4xlarge"), 3)[1].instance_type == "g6e.4xlarge"


def test_the_fewest_replicas_are_those_whose_share_of_the_traffic_meets(by_rate: None) -> None:
    replica = engine_of(CASE, ON_L40S)
    assert fewest(CASE, replica) == 4  # 50 requests/s: 12.5 each see 1250 ms of 1500, 16.7 would see 1667
    assert fewest(CASE, replica, most=3) is None


def test_a_pick_without_replicas_gets_them_from_the_simulation_and_a_pick_with_them_keeps_its_own(
    by_rate: None,
) -> None:
    simulated, own = (standing(CASE, [pick]).fleet for pick in (ON_L40S, replace(ON_L40S, replicas=2)))
    assert (simulated.replicas, simulated.replicas_by, simulated.meets) == (4, SIMULATED, True)
    assert (own.replicas, own.replicas_by, own.meets) == (2, OWN, False)


def test_of_several_picks_one_that_meets_goes_before_a_cheaper_one_that_misses(by_rate: None) -> None:
    picks = [replace(ON_L40S, replicas=2), replace(ON_L40S, replicas=9), replace(ON_L40S, replicas=5)]
    best, none_meets = standing(CASE, picks), standing(CASE, picks[:1])
    assert (best.fleet.replicas, best.passed_over.replicas) == (5, 2)
    assert (none_meets.fleet.replicas, none_meets.passed_over) == (2, None)


def test_what_does_not_fit_does_not_start_and_says_why() -> None:
    case = CASES[3]
    told = standing(case, [Pick(checkpoint=case.entry.model, gpu="L4", tensor_parallel=1)])
    assert told.reason.startswith("does not start: 131.4 GiB of weights in")


def test_drawn_requests_are_scaled_to_the_stated_rate_and_means() -> None:
    drawn = [Request(1.0, 800, 100), Request(4.0, 1000, 300)]
    assert as_stated(drawn, CASE.entry.workload, 1.0, 10_000) == [Request(0.5, 800, 125), Request(2.0, 1000, 375)]


def test_questions_and_answers_survive_the_way_to_a_peer_and_back() -> None:
    question, said = question_for(CASE), Answer(picks=[ON_L40S])
    assert question_of(json.loads(json.dumps(asdict(question)))) == question
    assert answer_of(json.loads(json.dumps(asdict(said)))) == said


def test_a_peer_that_cannot_say_is_refused_with_its_reason() -> None:
    assert answer(_Peer(), question_for(CASES[0])).refused == "only chat"
    assert ask("example", _Peer(), [question_for(CASE)], offline=True)[0].picks == [ON_L40S]


def test_an_answer_is_kept_until_the_question_changes(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def talk(_, __, lines: str, **___) -> list[str]:
        asked.append(lines)
        return [json.dumps(asdict(Answer(refused="no"))) for _ in lines.splitlines()]

    monkeypatch.setattr(plan_ask, "talk", talk)
    monkeypatch.setattr(plan_ask, "folder", lambda: tmp_path)
    questions = [question_for(CASE), question_for(CASES[0])]
    for _ in range(2):
        assert [one.refused for one in ask("servcalc", peer("servcalc"), questions, offline=True)] == ["no", "no"]
    ask("servcalc", peer("servcalc"), [replace(questions[0], requests_per_s=1.0)], offline=True)
    assert [lines.count("\n") for lines in asked] == [2, 1]


def test_every_recorded_example_names_what_the_catalogue_knows_and_where_it_was_read() -> None:
    catalogue = plan_catalogue()
    models = {case.entry.model: {case.entry.model, *case.entry.allowed_variants} for case in CASES}
    for project in projects().values():
        for example in project.examples:
            assert example["checkpoint"] in models[example["model"]]
            assert re.fullmatch("[0-9a-f]{40}", example["commit"])
            for gpu in example["gpus"]:
                assert catalogue.gpu(gpu).name == gpu
            if "instance_type" in example:
                assert catalogue.instance(example["instance_type"]).gpu in example["gpus"]
    assert set(projects()) < set(PEERS)


def test_promises_count_the_workloads_and_name_no_winner_that_misses_the_objectives() -> None:
    cheap_but_late = fleet(1.0, ttft=1.1)
    found = [
        compared(6.0, fleet(10.0), fleet(12.0), cheap_but_late),
        compared(9.0, fleet(8.0), fleet(10.0), "card not known", meets=False),
    ]
    measured = [(target.measured, target.kept) for target in targets(results(*found))]
    assert measured == [("1 of 2", False), ("1 of 2", False), ("1 of 2", False), ("0 of 2", False), ("1 of 2", False)]


def test_the_page_says_what_was_found_in_figures_of_its_own() -> None:
    page = document(results(compared(6.0, fleet(10.0, replicas_by=SIMULATED), "card not known")))
    per_million = 50 * 250 * 3600 / 1e6
    assert f"| **{6 / per_million:.3f}** | {10 / per_million:.3f} Example" in page
    assert "(simulated)" in page
    assert "card not known" in page
    assert "4 GPUs at 2.50 USD/h against 4 GPUs at 1.50" in page
    assert f"{6.0 * 730:,.0f}" in page


def test_without_peers_the_page_says_that_nobody_was_asked() -> None:
    page = document(results(compared(6.0)))
    assert "| no peer's pick that meets them is cheaper | 0 of 0 | not asked |" in page
    assert "| our plan meets the objectives | 1 of 1 | yes |" in page
