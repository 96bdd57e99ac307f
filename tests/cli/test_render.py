"""Renderers show what the document says, and nothing in a name can break out of them."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from rich.console import Console, RenderableType

from cli.render import page, rehearsal
from cli.render import preview as render
from cli.render.parts.bars import against_limit, memory_bar
from infra.difference import compare
from tests.infra.test_preview import preview
from tests.support.plans import serving_plan, stack_plan


def shown(renderable: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def document(**overrides: Any) -> dict[str, Any]:
    verdict = {"rule": "exposure", "description": "No public engine.", "level": "mandatory", "passed": True,
               "violations": [], "could_not_run": ""}  # fmt: skip
    return {**preview(), "policies": [verdict], **overrides}


def violated() -> dict[str, Any]:
    found = {"resource": "urn", "message": "ports | are `open` <b>"}
    verdict = {**document()["policies"][0], "passed": False, "violations": [found]}
    return document(policies=[verdict])


def test_text_shows_models_pools_burn_resources_and_verdicts() -> None:
    text = shown(render.text(document()))
    parts = (
        "g6.2xlarge, L4, TP 1",
        "chat-floor",
        "$1,022 a month",
        "budget $6,000",
        "aws budgets Budget",
        "✓  exposure",
    )
    for part in parts:
        assert part in text, part


def test_plan_and_bill_on_one_screen_are_those_of_the_whole_preview() -> None:
    whole = shown(render.text(document())).splitlines()
    brief = shown(render.plan_and_bill(document())).splitlines()
    figures = {line for line in whole if "$" in line or "chat-floor" in line}
    assert figures & set(brief) >= {line for line in figures if line.startswith(("chat-floor", "expected", "ceiling"))}
    assert not any(word in line for word in ("Policies", "Resources", "KV cache") for line in brief)


def test_what_changes_is_shown_before_everything_else() -> None:
    found = compare(preview(stack_plan(serving_plan(gpu="T4"))), preview())
    text = shown(render.text(document(difference=found)))
    assert text.index("GPU T4 → L4") < text.index("Models (")
    markdown = render.markdown(document(difference=found))
    assert markdown.index("GPU T4 → L4") < markdown.index("Serves chat")


def test_a_violation_and_a_rule_that_could_not_run_are_not_passes() -> None:
    assert "✗  exposure  ports | are `open` <b>" in shown(render.text(violated()))
    unknown = {**document()["policies"][0], "passed": False, "could_not_run": "props.arn is not known yet"}
    assert "?  exposure  could not run: props.arn is not known yet" in shown(render.text(document(policies=[unknown])))


def test_markdown_folds_details_and_escapes_what_could_break_a_table() -> None:
    markdown = render.markdown(violated())
    assert "ports \\| are 'open' &lt;b&gt;" in markdown
    assert markdown.count("<details>") == markdown.count("</details>") >= 4


class Reader(HTMLParser):
    """Collects tags, to see that a page is well formed and loads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"} or name.startswith("on")]


def test_the_page_is_self_contained_and_escapes_names() -> None:
    hostile = document(models=[{**document()["models"][0], "name": '"><script>alert(1)</script>'}])
    html = page.html(hostile)
    reader = Reader()
    reader.feed(html)
    assert "script" not in reader.tags
    assert reader.links == []
    assert {"svg", "table", "details"} <= reader.tags
    assert "&lt;script&gt;" in html


def test_markup_in_a_name_is_shown_as_it_is() -> None:
    one = {**document()["models"][0], "name": "[bold]chat[/bold]"}
    assert "[bold]chat[/bold]" in shown(render.text(document(models=[one])))


@pytest.mark.parametrize("kv", [3.39, 0.0, -4.0, 900.0])
def test_a_memory_bar_is_as_wide_as_the_card_whatever_its_terms(kv: float) -> None:
    per_gpu = {**document()["models"][0]["per_gpu"], "kv_cache_gib": kv}
    assert len(memory_bar(per_gpu, width=60).plain) == 60


def test_the_budget_is_marked_where_it_is_and_what_exceeds_it_is_red() -> None:
    table = against_limit([("ceiling", 200.0, "$200")], 100.0, "budget", width=40)
    lines = shown(table).splitlines()
    assert lines[0].count("█") == 40
    assert lines[1].index("▲") - lines[0].index("█") == 19


def test_a_cluster_stack_without_models_and_budget_is_shown() -> None:
    cluster = document(models=[], pools=[], budget=None)
    assert "no budget of its own" in shown(render.text(cluster))
    assert "no budget of its own" in page.html(cluster)
    assert "no budget of its own" in render.markdown(cluster)


def rehearsed(**overrides: Any) -> dict[str, Any]:
    pod = {"stage": "up", "model": "chat", "pod": "chat-0", "node": "", "pool": "chat-spot", "instance_type": "",
           "zone": "", "capacity_type": "", "asks": "1 GPU", "missing": "nvidia.com/gpu"}  # fmt: skip
    return {
        "stack": "dev",
        "scenario": None,
        "passed": True,
        "problem": "",
        "models": [],
        "placements": [pod],
        "stages": [{"name": "tools", "seconds": 1.5, "detail": ""}],
        "checks": [{"name": "order", "passed": True, "detail": "as planned"}],
        "policies": [],
        "second_up": {"dev": 0},
        "leftovers": [],
        **overrides,
    }


def test_a_rehearsal_names_the_pending_pod_what_it_asks_and_what_is_missing() -> None:
    failed = rehearsed(passed=False, problem="1 pod is Pending")
    for text in (shown(rehearsal.text(failed)), rehearsal.markdown(failed)):
        assert re.search(r"1 GPU\W+nvidia.com/gpu", text)
        assert "rehearsal FAILED: 1 pod is Pending" in text


def test_a_rehearsal_that_passed_says_so_with_its_changes_and_leftovers() -> None:
    text = shown(rehearsal.text(rehearsed()))
    assert re.search(r"dev: rehearsal passed in 2 s; second up changes 0, leftovers 0", text)


def test_no_figure_of_the_bill_is_cut_by_a_narrow_terminal() -> None:
    line = {"name": "GPU nodes " + "x" * 20, "usd_per_hour": {"floor": 21.96, "expected": 1234.56, "ceiling": 98765.43},
            "rule": "r" * 200}  # fmt: skip
    text = shown(render.text(document(bill=[line])), width=80)
    assert "21.96 / 1,234.56 / 98,765.43" in text
    assert "GPU nodes " + "x" * 20 in text
