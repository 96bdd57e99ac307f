"""Readiness of an engine whose API server answers while its core may stand still."""

import json

import pytest

from runtime.engine.document import parse
from runtime.engine.progress import bound_s
from sizing.serving.launch import launch_document
from tests.runtime.conftest import wait_for
from tests.support.plans import serving_plan

BOUND_S = 60


@pytest.fixture
def served(pod):
    """A pod whose engine is warmed up."""
    pod.sets("ready", TIMEOUT_S=1.5)
    with pod.running():
        wait_for(pod.marker().exists)
        yield pod


def ready(pod):
    return pod.run("ready").returncode == 0


def still(pod, seconds):
    """Let one probe see the figures, and the next one the same figures that much later."""
    assert ready(pod)
    pod.ages(seconds)


def test_a_frozen_core_takes_the_replica_out_although_its_server_answers(served):
    served.freezes()
    still(served, BOUND_S + 1)
    done = served.run("ready")
    assert done.returncode == 1
    assert done.stdout == "requests run or wait, but nothing has moved for 61 s and a token is not answered\n"


def test_a_core_that_moves_again_brings_the_replica_back(served):
    served.freezes()
    still(served, BOUND_S + 1)
    assert not ready(served)
    served.shows(generation_tokens_total=101)
    assert ready(served)


@pytest.mark.parametrize(
    "moved",
    [
        {"generation_tokens_total": 101},
        {"prompt_tokens_total": 901},
        {"kv_cache_usage_perc": 0.2},
        {"request_success_total": 4},
        {"num_requests_waiting": 1},
        {"running": 4},
    ],
    ids=lambda moved: next(iter(moved)),
)
def test_any_figure_that_moves_is_progress(served, moved):
    served.freezes()
    still(served, BOUND_S + 1)
    served.shows(**moved)
    assert ready(served)


def test_requests_may_stand_still_for_as_long_as_a_slow_answer_takes(served):
    served.freezes()
    still(served, BOUND_S - 20)
    assert ready(served)


def test_figures_that_stayed_behind_on_an_idle_engine_are_no_standstill(served):
    still(served, BOUND_S + 1)
    asked = len(served.requests())
    assert ready(served), "the core answers a token"
    assert '"max_tokens": 1' in "".join(served.requests()[asked:])
    assert not served.progress().exists(), "the time starts anew"


@pytest.mark.parametrize(("code", "stays"), [(400, True), (404, True), (501, True), (429, False), (500, False)])
def test_a_refused_token_proves_nothing_while_a_full_queue_or_a_failing_engine_does(served, code, stays):
    served.refuses(code)
    still(served, BOUND_S + 1)
    assert ready(served) is stays


def test_an_engine_without_requests_is_never_suspect_and_is_asked_for_nothing(served):
    still(served, BOUND_S + 1)
    served.shows(running=0, num_requests_waiting=0)
    asked = len(served.requests())
    assert ready(served)
    assert not any("completions" in each for each in served.requests()[asked:])
    served.shows()
    assert ready(served), "what was seen before the pause does not count"


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"marks": []}', '{"marks": [], "since": "x"}'])
def test_a_broken_memory_of_the_last_probe_is_a_first_look(served, text):
    served.freezes()
    served.progress().write_text(text)
    assert ready(served)
    assert json.loads(served.progress().read_text())["since"] > 0


@pytest.mark.parametrize("text", ["", "vllm:num_requests_running many\n"])
def test_an_engine_without_figures_is_judged_by_its_answers_alone(served, text):
    served.freezes()
    (served.folder / "engine.json.metrics").write_text(text)
    assert ready(served)


def test_a_new_engine_starts_without_the_memory_of_the_last_one(pod):
    pod.progress().write_text('{"marks": [], "since": 0}')
    with pod.running():
        wait_for(pod.marker().exists)
        assert not pod.progress().exists()


@pytest.mark.parametrize(("shutdown_s", "bound"), [(30, 60), (60, 60), (200, 200)])
def test_the_bound_is_a_slow_answer_of_the_plan_and_a_minute_at_least(shutdown_s, bound):
    plan = serving_plan(drain={"shutdown_timeout_s": shutdown_s, "grace_period_s": 400})
    assert bound_s(parse(json.dumps(launch_document(plan)))) == bound
