"""What a stack asks the planner for: one function makes it for ``up``, preview, ``measure`` and ``advise``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.verbs.advise import advise
from cli.verbs.measure import _of_stack
from infra.config import STACKS_DIR, settings_from_file
from infra.offline import run_offline
from infra.preview import build_preview
from infra.program import plan_for
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.plan import StackPlan
from sizing.planning import planner
from sizing.planning.planner import plan_stack, planned_stack
from sizing.planning.request import PlanRequest

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/abc"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stack files whose prod is called from the internet."""
    for path in STACKS_DIR.glob("Pulumi.*.yaml"):
        document = yaml.safe_load(path.read_text())
        if path.stem == "Pulumi.prod":
            gateway = document["config"].setdefault("tonnage:gateway", {})
            seen = {"scheme": "internet-facing", "certificateArn": CERTIFICATE}
            document["config"]["tonnage:gateway"] = {**gateway, **seen}
        (tmp_path / path.name).write_text(yaml.safe_dump(document))
    monkeypatch.setenv("TONNAGE_STACKS", str(tmp_path))
    return tmp_path


class Asked(Exception):
    """Ends a command where it has asked for its plan."""

    def __init__(self, request: PlanRequest) -> None:
        self.ceiling = plan_stack(request).burn_usd_per_hour.ceiling
        super().__init__()


def test_up_advise_and_measure_plan_one_ceiling_for_a_stack_that_is_called_from_outside(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = plan_for(settings_from_file(outside / "Pulumi.prod.yaml"), "prod").burn_usd_per_hour.ceiling
    inside = plan_for(settings_from_file(STACKS_DIR / "Pulumi.prod.yaml"), "prod").burn_usd_per_hour.ceiling
    assert up > inside + 0.1

    def stop(request: PlanRequest, *_: Any, **__: Any) -> StackPlan:
        raise Asked(request)

    monkeypatch.setattr(planner, "plan_stack", stop)
    with pytest.raises(Asked) as measuring:
        _of_stack(None, "prod", None)  # type: ignore[arg-type]
    monkeypatch.setattr("cli.verbs.advise._of_log", lambda _: (_Measured, None))
    monkeypatch.setattr("sizing.observe.advice.find_entry", stop)
    with pytest.raises(Asked) as advising:
        advise("prod", log="any")
    assert (measuring.value.ceiling, advising.value.ceiling) == (up, up)


class _Measured:
    """A log that says nothing."""

    model = None


def test_a_stack_without_models_is_named_by_who_asked(outside: Path) -> None:
    with pytest.raises(BadInput, match="--stack: prod-cluster serves no models"):
        _of_stack(None, "prod-cluster", None)  # type: ignore[arg-type]


def test_a_preview_searches_each_model_once_and_prices_it_with_the_catalogue_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[str] = []
    search = planner.enumerate_options

    def counted(entry: Any, *args: Any, **kwargs: Any) -> Any:
        searched.append(entry.name)
        return search(entry, *args, **kwargs)

    monkeypatch.setattr(planner, "enumerate_options", counted)
    known = load_catalogue()
    fixed = {name: {region: usd * 2 for region, usd in rows.items()} for name, rows in known.prices.items()}
    other = dataclasses.replace(known, date="2001-01-01", prices=fixed)
    document = build_preview("prod", run_offline("prod", catalogue=other), [])
    assert sorted(searched) == sorted(model["name"] for model in document["models"])
    assert document["prices_of"] == "2001-01-01"
    assert all(model["why"] and model["alternatives"] for model in document["models"])
    usual = {line["name"]: line["usd_per_hour"] for line in build_preview("prod", run_offline("prod"), [])["bill"]}
    twice = {line["name"]: line["usd_per_hour"] for line in document["bill"]}
    assert twice["key and secrets"]["ceiling"] == pytest.approx(2 * usual["key and secrets"]["ceiling"], abs=1e-3)


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_a_plan_does_not_depend_on_how_many_alternatives_are_asked_for(stack: str) -> None:
    from infra.request import request_of_file

    request = request_of_file(stack, STACKS_DIR, "stack")
    assert planned_stack(request).plan == planned_stack(request, top=3).plan
