"""The page of decisions: generated, complete, and right about who makes and who reads a field."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from tools.generators import decisions
from tools.generators.plan_reads import Module, Reading

FOUND = {(one.owner, one.name): one for one in decisions.decisions()}


def reading(source: str) -> Reading:
    """Return what a file of this text reads and makes."""
    module = Module(file="components/example.py", tree=ast.parse(source))
    module.imported = {"ServingPlan": ("sizing/plan/__init__.py", "ServingPlan")}
    known = decisions.code().modules
    known[module.file] = module
    try:
        return Reading(decisions.code(), module)
    finally:
        del known[module.file]


def test_the_page_is_what_the_code_says() -> None:
    assert decisions.PAGE.read_text(encoding="utf-8") == decisions.page(), "run `make docs`"


def test_every_field_of_the_plan_has_a_maker_and_somebody_who_reads_it() -> None:
    assert decisions.problems(list(FOUND.values())) == []


def test_a_field_without_a_maker_or_a_reader_is_noticed() -> None:
    one = FOUND["Rollout", "await_s"]
    alone = replace(one, makers=(), copied_by=(), rules=(), shown_by=())
    assert decisions.problems([alone]) == [
        "Rollout.await_s: no file of sizing/ gives it a value",
        "Rollout.await_s: nobody reads it",
    ]


def test_a_field_is_named_unread_only_while_nobody_reads_it() -> None:
    assert [key for key in decisions.UNREAD if not FOUND[key].consumers.startswith("nobody")] == []


@pytest.mark.parametrize(
    ("field", "maker", "copied_by"),
    [
        ("NodeLifetime.termination_s", "sizing/nodes/lifecycle.py:termination_s", "karpenter_pools/documents.py"),
        ("NodeLifetime.deletion_s", "sizing/nodes/lifecycle.py:lifetime", "karpenter_pools/component.py"),
        ("RoutePlan.retries", "sizing/serving/gateway.py:_retries", "serving/gateway/documents.py"),
        ("Rollout.await_s", "sizing/serving/rollout.py:rollout", "model_service/component.py"),
        ("Ingest.deadline_s", "sizing/serving/ingest.py:deadline_s", "model_store/documents.py"),
        ("BudgetPlan.alarm_periods", "sizing/cost/budget.py:budget_plan", "budget/component.py"),
        ("ServingPlan.surge", "sizing/planning/sharing/fleets.py:Fleet.surge", "model_service/documents.py"),
        ("ServingPlan.engine_args", "sizing/engine/arguments.py:engine_args", "sizing/serving/launch.py"),
        ("StackPlan.gpu_quota", "sizing/nodes/pools.py:gpu_quota", "infra/layers/serving.py"),
    ],
)
def test_maker_and_document_of_a_decision_are_found(field: str, maker: str, copied_by: str) -> None:
    one = FOUND[tuple(field.split("."))]  # type: ignore[index]
    assert maker in [each.place for each in one.makers]
    assert [file for file in one.copied_by if file.endswith(copied_by)]


def test_the_rule_of_a_decision_is_that_of_its_figure() -> None:
    rules = {key: one.rule for key, one in FOUND.items()}
    assert rules["Fallback", "replicas"].startswith("the planned replicas, unless more run")
    assert rules["GatewayPlan", "idle_timeout_s"].startswith("the longest that any request may last + margin")
    assert rules["RoutePlan", "idle_timeout_s"].startswith("a connection without a request is closed")
    assert rules["ServingPlan", "scale_to_zero"] == "`entry.scale_to_zero`"


def test_what_no_document_copies_is_named_as_shown_only() -> None:
    assert FOUND["StackPlan", "warnings"].consumers == "shown only"
    assert FOUND["NodePoolPlan", "mean_instances"].consumers.startswith("shown only; input of `sizing/cost/bill.py`")


def test_a_read_is_found_through_names_loops_and_parts_and_not_by_the_name_of_the_field_alone() -> None:
    text = """
def document(plan: ServingPlan, other: str, models: tuple[ServingPlan, ...]):
    probe = plan.probes.startup
    return [probe.period_s, other.surge, *(model.drain.pre_stop_s for model in models)]
"""
    assert reading(text).reads == {
        ("ServingPlan", "probes"), ("Probes", "startup"), ("Probe", "period_s"), ("ServingPlan", "drain"),
        ("Drain", "pre_stop_s"),
    }  # fmt: skip


def test_a_property_reads_the_fields_that_it_is_made_of() -> None:
    text = "def document(plan: ServingPlan):\n    return plan.start_up.pod_s\n"
    phases = {("StartUp", name) for name in ("weights_load_s", "compile_s", "warm_up_s")}
    assert reading(text).reads == {("ServingPlan", "start_up"), *phases}


def test_a_class_of_the_same_name_that_is_not_the_plans_is_left_alone() -> None:
    assert reading("def document(plan: Placement):\n    return plan.max_skew\n").reads == set()
