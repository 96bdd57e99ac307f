"""The preview document: what it says of a plan and of a graph, with exact figures."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from infra.preview import build_preview
from infra.recording import RecordedResource
from infra.settings.cluster import ClusterSettings
from sizing.catalogue import load_catalogue
from sizing.inputs import Capacity, ModelEntry
from sizing.planning.planner import plan_model
from sizing.planning.search.options import Market
from sizing.workload.workload import Workload
from tests.support.plans import serving_plan, stack_plan, vector_store_plan


def resource(kind: str, name: str, *, custom: bool = True, **props: Any) -> RecordedResource:
    return RecordedResource(
        urn=f"urn:pulumi:test::tonnage::{kind}::{name}", type=kind, name=name, custom=custom, props=props
    )


GRAPH = (
    resource("pulumi:providers:aws", "default"),
    resource("tonnage:index:ModelService", "chat", custom=False),
    resource("kubernetes:core/v1:Service", "chat", spec={"port": 8000}),
    resource("aws:budgets/budget:Budget", "monthly", limitAmount="6000"),
)


def preview(plan: Any = None, resources: tuple[RecordedResource, ...] = GRAPH) -> dict[str, Any]:
    settings = SimpleNamespace(layer="serving", region="us-east-1", models=())
    return build_preview(
        "test", graph(plan or stack_plan(), settings, resources), [{"rule": "exposure", "passed": True}]
    )


def graph(plan: Any, settings: Any, resources: tuple[RecordedResource, ...] = (), alone: Any = ()) -> Any:
    """Return what an offline run of a serving stack returns, as far as a preview reads it."""
    planned = SimpleNamespace(plan=plan, alone=dict(alone))
    return SimpleNamespace(
        plan=plan,
        planned=planned,
        settings=settings,
        resources=resources,
        catalogue=load_catalogue(),
        messages=(),
        before_up=(),
    )


def test_the_document_has_the_keys_of_the_contract() -> None:
    keys = {"schema", "stack", "models", "pools", "burn", "budget", "resources", "policies", "difference"}
    assert keys <= preview().keys()


def test_what_the_program_logs_as_a_warning_or_error_is_a_warning_of_the_preview_once() -> None:
    logged = (("warning", "a key\n is deprecated"), ("error", "b"), ("warning", "a key is deprecated"))
    told = graph(
        replace(stack_plan(), warnings=("of the plan",)),
        SimpleNamespace(layer="serving", region="us-east-1", models=()),
    )
    told.messages = logged
    assert build_preview("test", told, [])["warnings"] == ["of the plan", "a key is deprecated", "b"]


def test_burn_is_given_per_hour_and_per_month_of_730_hours() -> None:
    assert preview()["burn"] == {
        "floor": {"usd_per_hour": 0.98, "usd_per_month": 715.4},
        "expected": {"usd_per_hour": 1.4, "usd_per_month": 1022.0},
        "ceiling": {"usd_per_hour": 3.91, "usd_per_month": 2854.3},
    }


def test_the_budget_says_how_much_of_it_the_ceiling_takes() -> None:
    budget = preview()["budget"]
    assert (budget["within"], budget["ceiling_share"], budget["headroom_usd"]) == (True, 0.4757, 3145.7)
    over = preview(stack_plan(budget={"monthly_usd": 2854.0}))
    assert over["budget"]["within"] is False
    assert "OVER the budget of $2,854" in over["summary"]


def test_resources_are_sorted_and_leave_providers_out() -> None:
    rows = [(one["type"], one["name"], one["component"]) for one in preview()["resources"]]
    assert rows == [
        ("aws:budgets/budget:Budget", "monthly", False),
        ("kubernetes:core/v1:Service", "chat", False),
        ("tonnage:index:ModelService", "chat", True),
    ]


def test_a_secret_input_does_not_reach_the_fingerprint() -> None:
    def digest(key: str, *secret: str) -> str:
        one = replace(resource("kubernetes:core/v1:Secret", "keys", data=key), secret_keys=secret)
        return preview(resources=(one,))["resources"][0]["digest"]

    assert digest("a") != digest("b")
    assert digest("a", "data") == digest("b", "data")


def test_a_model_says_what_it_runs_on_and_what_was_decided_for_it() -> None:
    model = preview(stack_plan(serving_plan(tensor_parallel=2)))["models"][0]
    assert model["tensor_parallel"] == 2
    assert model["startup_budget_s"] == 300
    assert model["start_up_s"] == 305.0
    assert model["per_gpu"]["kv_cache_gib"] == 3.39


def test_the_vector_store_is_there_when_it_is_planned() -> None:
    assert preview()["vector_store"] is None
    assert preview(stack_plan(vector_store=vector_store_plan()))["vector_store"]["shards"] == 12


def test_the_document_is_plain_json_without_nan() -> None:
    json.dumps(preview(), allow_nan=False)


def test_a_model_says_what_its_machine_was_chosen_among() -> None:
    entry = ModelEntry(
        name="chat",
        model="meta-llama/Llama-3.1-8B-Instruct",
        workload=Workload(requests_per_second=6, input_tokens=900, output_tokens=250),
    )
    result = plan_model(entry, Market(capacity=Capacity(), region="us-east-1", catalogue=load_catalogue()), top=3)
    settings = SimpleNamespace(layer="serving", region="us-east-1", models=(entry,), capacity=Capacity())
    alone = {entry.name: result}
    model = build_preview("test", graph(stack_plan(result.chosen), settings, alone=alone), [])["models"][0]
    after = result.alternatives[0]
    assert model["why"].startswith("cheapest that fits and meets the objectives: $")
    assert f"next is {after.gpu} ({after.instance_type}, TP {after.tensor_parallel})" in model["why"]
    assert len(model["alternatives"]) == 3
    model = build_preview("test", graph(stack_plan(after), settings, alone=alone), [])["models"][0]
    assert "cheapest together with the other models within the budget" in model["why"]


def test_endpoints_are_billed_in_the_zones_that_are_named() -> None:
    endpoint = resource("aws:ec2/vpcEndpoint:VpcEndpoint", "sts", vpcEndpointType="Interface")
    stated = {"layer": "cluster", "region": "us-east-1", "admin_role_arns": ("arn:aws:iam::123456789012:role/x",)}

    def bill(**zones: Any) -> Any:
        return build_preview("c", graph(None, ClusterSettings(**stated, **zones), (endpoint,)), [])["bill"]

    assert bill(zone_ids=("use1-az1", "use1-az2")) == bill(zones=2) != bill(zones=3)
