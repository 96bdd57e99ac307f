"""``tonnage plan`` answers on one screen; ``--explain`` shows everything, and the document knows nothing of either."""

from __future__ import annotations

import io
from html import unescape
from typing import Any

import pytest
from rich.console import Console

from cli import output
from cli.render import costs, plan, plan_screen
from sizing.catalogue import load_catalogue
from sizing.inputs import Capacity, ModelEntry, ReplicaBounds
from sizing.planning.planner import plan_model
from sizing.planning.savings import what_saves
from sizing.planning.search.options import Market
from sizing.workload.workload import Objectives, Workload
from tests.cli.conftest import Tonnage

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
SMALL = "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8"
TRAFFIC = ("--requests-per-second", "6", "--input-tokens", "900", "--output-tokens", "250")
CALL = ("plan", MODEL, *TRAFFIC)
LINES, COLUMNS = 30, 100
QUESTIONS: dict[str, tuple[str, ...]] = {
    "readme": (),
    "another checkpoint": ("--requests-per-second", "200", "--gpu", "H100", "--allowed-variant", SMALL),
    "long command": ("--enforce-eager", "--max-loras", "2", "--max-lora-rank", "16", "--kv-cache-dtype", "fp8"),
    "scaled to zero": ("--scale-to-zero", "--ttft-p95-ms", "900"),
}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "WIDTH_WITHOUT_TERMINAL", COLUMNS)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_answer_fits_one_screen_and_names_explain(tonnage: Tonnage, question: str) -> None:
    shown = tonnage(*CALL, *QUESTIONS[question]).out.splitlines()
    assert len(shown) <= LINES
    assert max(len(line.rstrip()) for line in shown) <= COLUMNS
    assert shown[-1].startswith("--explain shows ")


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_the_screen_holds_choice_bill_latency_and_three_alternatives_of_the_document(
    tonnage: Tonnage, output_format: str
) -> None:
    document = tonnage(*CALL, "--format", "json").document
    said = tonnage(*CALL, "--format", output_format).out
    chosen, figures = document["chosen"], {one["name"]: one for one in document["chosen"]["explanation"]}
    assert f"{MODEL} on {chosen['instance_type']}, {chosen['gpu']}, TP {chosen['tensor_parallel']}" in said
    assert f"TTFT p95 {figures['ttft_p95_ms']['value']:,.0f} ms of 2,000 ms allowed" in said
    assert f"TPOT p95 {figures['tpot_p95_ms']['value']:,.1f} ms of 80 ms: met" in said
    for bound in ("floor", "expected", "ceiling"):
        assert f"{document['burn'][bound]['usd_per_month']:,.0f}" in said
    assert f"${document['usd_per_million_tokens']['output']:.2f} out" in said
    for option in document["alternatives"][:3]:
        assert " / ".join(f"{option['usd_per_hour'][b]:,.2f}" for b in ("floor", "expected", "ceiling")) in said
    rest = {option["gpu"] for option in document["alternatives"][3:]} | {"novita-ai", "Savings Plan", "a node is lost"}
    assert not [name for name in rest - {o["gpu"] for o in document["alternatives"][:3]} if name in said]


def pieces(document: dict[str, Any]) -> list[str]:
    """Everything that the plan showed before it had a screen, but for what a format adds or cuts."""
    rows = [*plan.option_rows(document), *plan.scaling_rows(document), *plan.trade_rows(document)]
    rows += costs.bill_rows(document)
    rows += costs.host_rows(document["hosted"]) if document["hosted"] else []
    rows += costs.term_rows(document["purchase_terms"]) if document["purchase_terms"] else []
    return [plan.sentence(document), *costs.sentences(document), *(cell for row in rows for cell in row)]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_explain_holds_everything_that_was_shown_without_a_screen(
    tonnage: Tonnage, output_format: str, question: str
) -> None:
    call = (*CALL, *QUESTIONS[question])
    document = tonnage(*call, "--format", "json").document
    told = pieces(document)
    if output_format == "text":  # cells are folded: words are looked for one by one
        told += [plan.command_line(document)]
        told += [cell for row in plan.reasons(document)[: plan.MOST_REASONS] for cell in row]
        said = set(tonnage(*call, "--explain").out.split())
        broken = [word for word in {w for one in told for w in one.split()} - said if len(word) < 20]
        assert broken == []
    else:
        told += [one["reason"] for one in document["rejected"]]
        said = unescape(tonnage(*call, "--explain", "--format", output_format).out).replace("\\|", "|")
        assert [one for one in told if one not in said] == []


@pytest.mark.parametrize("output_format", ["text", "markdown"])
@pytest.mark.parametrize("explain", [(), ("--explain",)])
def test_warnings_and_what_would_be_cheaper_are_always_shown(
    tonnage: Tonnage, output_format: str, explain: tuple[str, ...]
) -> None:
    said = " ".join(tonnage(*CALL, *explain, "--format", output_format).out.split())
    assert "one replica in quiet hours, its loss is an outage of about" in said
    for change in ("looser objectives", "less traffic", "shorter answers"):
        assert change in said


def test_the_document_is_the_same_whether_explained_or_not(tonnage: Tonnage) -> None:
    call = (*CALL, "--format", "json")
    assert tonnage(*call).out == tonnage(*call, "--explain").out


def test_another_checkpoint_is_marked_in_the_table_and_named_below_it(tonnage: Tonnage) -> None:
    said = tonnage(*CALL, *QUESTIONS["another checkpoint"]).out
    assert "H100*" in said
    assert f"* {SMALL}\n" in "\n".join(line.rstrip() for line in said.splitlines()) + "\n"


def test_fewer_alternatives_may_be_asked_for(tonnage: Tonnage) -> None:
    def rows(*extra: str) -> int:
        table = tonnage(*CALL, *extra).out.split("meets")[1].split("\n\n")[0]
        return table.strip().count("\n")

    assert (rows("--top", "0"), rows("--top", "2"), rows("--top", "9")) == (0, 2, 3)


def saving(**stated: Any) -> dict[str, str]:
    workload = Workload(requests_per_second=6, input_tokens=900, output_tokens=250)
    entry = ModelEntry(**{"name": "chat", "model": MODEL, "workload": workload, **stated})
    market = Market(capacity=Capacity(), region="us-east-1", catalogue=load_catalogue())
    return dict(what_saves(plan_model(entry, market).chosen, entry, market))


def test_a_step_that_saves_is_told_with_the_plan_it_leads_to() -> None:
    found = saving()
    less = Workload(requests_per_second=4.5, input_tokens=900, output_tokens=250)
    entry = ModelEntry(name="chat", model=MODEL, workload=less)
    chosen = plan_model(entry, Market(capacity=Capacity(), region="us-east-1", catalogue=load_catalogue())).chosen
    assert found["less traffic"].startswith(f"4.5 requests/s: {chosen.usd_per_hour.expected:,.2f} USD/h, -")
    assert found["less traffic"].endswith(f" of {chosen.gpu} TP1 on {chosen.instance_type}")
    assert found["looser objectives"] == "no cheaper even at TTFT p95 8,000 ms, TPOT p95 320 ms"


def test_objectives_that_cost_money_say_what_looser_ones_save() -> None:
    found = saving(objectives=Objectives(tpot_p95_ms=20))
    assert found["looser objectives"].startswith("TTFT p95 4,000 ms, TPOT p95 40 ms: ")


def test_answers_of_one_token_cannot_be_shorter_and_fixed_replicas_cost_the_same() -> None:
    one = Workload(requests_per_second=6, input_tokens=900, output_tokens=1)
    found = saving(workload=one, replicas=ReplicaBounds(floor=2, ceiling=2))
    assert found.keys() == {"looser objectives", "less traffic"}
    assert all(words.startswith("no cheaper even at ") for words in found.values())


def test_the_screen_asks_for_no_more_alternatives_than_it_shows(
    tonnage: Tonnage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def spy(*arguments: Any, top: int = 5, **named: Any) -> object:
        asked.append(top)
        return plan_model(*arguments, top=top, **named)

    monkeypatch.setattr("sizing.planning.planner.plan_model", spy)
    for extra in ((), ("--explain",), ("--format", "json")):
        assert tonnage(*CALL, *extra).code == 0
    assert asked == [plan_screen.ALTERNATIVES, 5, 5]


def test_a_hostile_name_breaks_out_of_no_comment() -> None:
    bad = "<script>|`"
    figures = [{"name": name, "value": 1.0} for name in ("ttft_p95_ms", "tpot_p95_ms")]
    bounds = {"floor": 1, "expected": 1, "ceiling": 1}
    option = {
        "model": bad, "gpu": bad, "instance_type": bad, "instances_per_replica": 1, "tensor_parallel": 1,
        "replicas": bounds, "usd_per_hour": bounds, "engine_args": [bad], "explanation": figures, "meets": True,
    }  # fmt: skip
    burn = {bound: {"usd_per_hour": 1.0, "usd_per_month": 730.0} for bound in bounds}
    document = {
        "inputs": {"model": "x", "objectives": {"ttft_p95_ms": 1.0, "tpot_p95_ms": 1.0}}, "chosen": option,
        "alternatives": [], "burn": burn, "cluster": {"burn": burn},
        "usd_per_million_tokens": {"input": 1.0, "output": 1.0},
    }  # fmt: skip
    notes = plan.Notes(cheaper=((bad, bad),), warnings=(bad,))
    assert "<script>" not in plan_screen.markdown(document, notes)
    shown = Console(file=io.StringIO(), width=COLUMNS, markup=False)
    shown.print(plan_screen.text(document, notes))
