"""What changed between two previews: words first, then figures."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.difference import compare
from sizing.errors import BadInput
from tests.infra.test_preview import GRAPH, preview, resource
from tests.support.plans import large_serving_plan, serving_plan, stack_plan


def test_the_same_stack_has_no_difference() -> None:
    assert compare(preview(), preview())["words"] == ["Nothing changes."]
    assert compare(preview(), preview())["changed"] is False


def test_a_larger_gpu_is_said_first_and_the_bill_after_it() -> None:
    after = stack_plan(serving_plan(gpu="L40S", instance_type="g6e.2xlarge", usd_per_hour={"expected": 2.8}))
    words = compare(preview(), preview(after))["words"]
    assert words == [
        "Model chat: GPU L4 → L40S; instance type g6.2xlarge → g6e.2xlarge.",
        "The expected bill rises by $1,022.00 a month (+100%), from $1,022.00 to $2,044.00.",
        "The ceiling is within the budget of $6,000.",
    ]


def test_models_and_pools_that_come_and_go_are_named() -> None:
    both = preview(stack_plan(serving_plan(), large_serving_plan()))
    words = compare(preview(), both)["words"]
    assert "New model large: meta-llama/Llama-3.1-70B-Instruct on L40S (g6e.12xlarge, TP 4)." in words
    assert "New node pool large-floor." in words
    assert "Model large goes." in compare(both, preview())["words"]


def test_resources_are_told_apart_by_their_inputs() -> None:
    after = (*GRAPH[:2], resource("kubernetes:core/v1:Service", "chat", spec={"port": 8001}), resource("a:b:C", "new"))
    found = compare(preview(), preview(resources=after))
    assert found["resources"] == {
        "added": [{"type": "a:b:C", "name": "new"}],
        "removed": [{"type": "aws:budgets/budget:Budget", "name": "monthly"}],
        "changed": [{"type": "kubernetes:core/v1:Service", "name": "chat"}],
    }
    assert found["words"] == ["Resources: 1 added, 1 changed, 1 removed."]


def test_a_policy_that_is_no_longer_met_and_a_new_budget_are_said() -> None:
    after = preview(stack_plan(budget={"monthly_usd": 2000.0}))
    after["policies"] = [{"rule": "exposure", "passed": False}]
    words = compare(preview(), after)["words"]
    assert "Policy exposure is now VIOLATED." in words
    assert "The budget goes from $6,000 to $2,000 a month." in words
    assert "The ceiling is OVER the budget of $2,000." in words


def test_a_store_whose_disks_would_shrink_is_refused_where_the_stack_is_the_same() -> None:
    def with_disk(gib: int, stack: str) -> dict[str, Any]:
        return {**preview(), "stack": stack, "vector_store": {"disk_gib": gib}}

    assert compare(with_disk(40, "prod"), with_disk(50, "prod"))["changed"] is False
    compare(with_disk(900, "prod"), with_disk(50, "dev"))
    with pytest.raises(BadInput, match="50 GiB per replica is planned; limit: 900 GiB"):
        compare(with_disk(900, "prod"), with_disk(50, "prod"))


def test_another_stack_is_named() -> None:
    before = {**preview(stack_plan(serving_plan(gpu="T4"))), "stack": "dev"}
    assert compare(before, preview())["words"][0] == "Compared with another stack: dev."


def broken(path: str, value: object) -> dict[str, Any]:
    document = copy.deepcopy(preview())
    *parents, last = path.split(".")
    place: Any = document
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("schema", 99, "not a preview document"),
        ("resources", None, "not a preview document"),
        ("burn.floor", None, "burn.floor"),
        ("burn.floor.usd_per_month", "much", "burn.floor.usd_per_month"),
        ("burn.floor.usd_per_month", float("nan"), "burn.floor.usd_per_month"),
        ("models.0.name", None, "models.0.name"),
        ("pools.0.instances", [], "pools.0.instances"),
    ],
)
def test_an_earlier_document_that_is_none_is_refused_by_its_key(path: str, value: object, words: str) -> None:
    with pytest.raises(BadInput, match="--against") as caught:
        compare(broken(path, value), preview())
    assert words in caught.value.line()
