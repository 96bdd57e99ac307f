"""The real engine, API server and scheduler, on a small environment: what goes right, and each way of going wrong."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from infra.config import STACKS_DIR, settings_from_file, stack_file
from policies.registry import find_rules
from rehearsal.process import PREFIX, marked
from rehearsal.providers.aws import Fault
from rehearsal.run import RehearsalPlan, perform, rehearse
from sizing.errors import BadInput
from tests.rehearsal import toy

TEMP = Path(tempfile.gettempdir())  # before the engine points it into its run folder
pytestmark = pytest.mark.rehearsal


def play(scenario=None, fault=None, progress=lambda _: None, **changes):
    files = {name: stack_file(name, STACKS_DIR) for name in ("dev-cluster", "dev")}
    rehearsal_plan = RehearsalPlan(
        stack="dev",
        stacks=("dev-cluster", "dev"),
        files=files,
        settings=settings_from_file(files["dev"]),
        plan=None,
        scenario=scenario,
        program=toy.program(**changes),
    )
    return perform(rehearsal_plan, progress=progress, fault=fault)


def folders():
    return set(TEMP.glob(f"{PREFIX}{os.getpid()}-*"))


def is_engine(pid):
    """An update under way: not ``pulumi version`` or ``pulumi stack``, which answer and go."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"/pulumi") and bool({b"up", b"destroy"} & set(words))


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert folders() == set()


def test_a_small_environment_comes_up_changes_nothing_twice_and_leaves_nothing():
    report = play()
    assert report.first_problem() == ""
    assert report.passed
    assert report.second_up == {"dev-cluster": 0, "dev": 0}
    assert {one.rule for one in report.policies} == {rule.name for rule in find_rules()}
    assert report.leftovers == []


def test_a_pool_cut_to_nothing_names_the_pending_pod_what_it_asks_and_what_is_missing():
    report = play(limit="0", replicas=1)
    assert not report.passed
    assert len({pending.pod for pending in report.pending}) == 1  # at the expected and at the most traffic
    pending = report.pending[0]
    assert pending.pod.startswith("serving/chat-")
    assert pending.asks.startswith("1 GPUs")
    assert "exceed limits for nodepool (NodePool=chat-spot)" in pending.missing
    assert pending.pod in report.first_problem()


def test_a_policy_violation_inside_the_engine_is_the_answer():
    report = play(image="example.com/runtime:latest")
    assert "exposure" in report.first_problem()
    assert "by digest" in report.first_problem()


def test_a_provider_that_answers_with_an_error_is_one_line():
    problem = play(fault=Fault(kind="error", after=2)).first_problem()
    assert "InsufficientInstanceCapacity" in problem
    assert "\n" not in problem


def test_a_provider_that_dies_in_the_middle_is_one_line():
    problem = play(fault=Fault(kind="die", after=3)).first_problem()
    assert "a provider died in the middle of up" in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    "moment", ["control plane:", "up dev-cluster ...", "create Vpc", "up dev ...", "destroy dev ..."]
)
def test_an_engine_that_is_killed_leaves_no_process_and_no_file(moment):
    killed = threading.Event()

    def kill():
        deadline = time.monotonic() + 20
        while not killed.is_set() and time.monotonic() < deadline:
            for folder in folders():
                for pid in (int(line.split()[0]) for line in marked(folder)):
                    if is_engine(pid):
                        os.kill(pid, signal.SIGKILL)
                        killed.set()
            time.sleep(0.02)

    started = []

    def progress(line):
        if moment in line and not started:
            started.append(threading.Thread(target=kill, daemon=True))
            started[0].start()

    report = play(progress=progress)
    started[0].join()
    assert killed.is_set()
    assert not report.passed
    assert "\n" not in report.first_problem()
    assert report.leftovers == []


def test_a_serving_stack_without_its_cluster_stack_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "Pulumi.dev.yaml").write_text(stack_file("dev", STACKS_DIR).read_text())
    with pytest.raises(BadInput, match="cluster stack dev-cluster: has no stack file"):
        rehearse("dev", stacks_dir=tmp_path)


@pytest.mark.parametrize(("stack", "scenario"), [("dev", "spot-reclaim"), ("prod", "zone-loss")])
def test_the_shipped_stacks_pass(stack, scenario):
    report = rehearse(stack, scenario=scenario)
    assert report.first_problem() == ""
    assert report.passed
    assert report.dropped == report.refused == report.leftovers == []
    assert any(one.name.startswith(scenario) for one in report.checks)


def test_a_new_engine_and_a_larger_store_cost_what_the_preview_says_and_no_volume_shrinks():
    report = rehearse("prod", scenario="upgrades")
    assert report.first_problem() == ""
    told = {one.name: one.detail for one in report.checks}
    assert told["engine-version: assistant loses what was planned"].endswith("at least 1 served")
    assert told["engine-version: chat loses what was planned"].startswith("0 GPU-minutes, planned 0")
    assert told["store-growth: every volume has 50 GiB"] == "3 grew in place"
    assert "cannot shrink; hint: state diskGib: 50" in told["store-growth: smaller volumes are refused"]


def test_prod_with_a_pool_cut_by_hand_names_the_pending_pod_and_what_is_missing():
    report = rehearse("prod", gpu_limits={"assistant-spot": 0})
    assert not report.passed
    assert len({pending.pod for pending in report.pending}) == 1  # at the expected and at the most traffic
    pending = report.pending[0]
    assert pending.pod.startswith("serving/assistant-")
    assert pending.asks.startswith("8 GPUs")
    assert "exceed limits for nodepool (NodePool=assistant-spot)" in pending.missing
    assert report.leftovers == []
