"""What ``tonnage rehearse`` shows while nothing is built or started yet."""

from __future__ import annotations

import pytest

import rehearsal.run
from rehearsal.errors import ToolError
from tests.cli.conftest import Called, Tonnage

LINES_OF_A_SCREEN = 32


@pytest.fixture
def before_tools(
    tonnage: Tonnage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[Tonnage, list[str]]:
    """The command without tools, and what stood on standard output when it asked for them."""
    shown: list[str] = []

    def ask_for_tools(progress) -> None:
        shown.append(capsys.readouterr().out)
        raise ToolError("tools", "none here")

    monkeypatch.setattr(rehearsal.run, "ensure_tools", ask_for_tools)
    return tonnage, shown


def test_plan_and_bill_are_shown_once_before_any_tool_is_asked_for(before_tools) -> None:
    tonnage, shown = before_tools
    called: Called = tonnage("rehearse", "dev")
    assert called.code == 2
    assert called.err.splitlines()[-1] == "tools: none here"
    (plan,) = shown
    for part in ("Llama-3.1-8B-Instruct", "g5.xlarge", "Node pools", "a month", "budget $6,000", "load balancer"):
        assert part in plan, part
    assert plan.count("\nBill\n") == 1
    assert called.out == ""


@pytest.mark.parametrize("stack", ["dev", "dev-cluster"])
def test_plan_and_bill_have_one_screen(before_tools, stack: str) -> None:
    tonnage, shown = before_tools
    tonnage("rehearse", stack)
    assert "Bill" in shown[0]
    assert shown[0].count("\n") <= LINES_OF_A_SCREEN


@pytest.mark.parametrize("wanted", ["json", "markdown"])
def test_a_document_that_is_parsed_is_alone_on_standard_output(before_tools, wanted: str) -> None:
    tonnage, shown = before_tools
    tonnage("rehearse", "dev", "--format", wanted)
    assert shown == [""]


def test_what_cannot_be_rehearsed_is_one_line_and_shows_no_plan(before_tools) -> None:
    tonnage, shown = before_tools
    assert "--scenario" in tonnage("rehearse", "dev", "--scenario", "no-such").line
    assert shown == []
