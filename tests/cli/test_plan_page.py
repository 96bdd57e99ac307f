"""``tonnage plan --html``: one page that loads nothing, escapes everything, and is the same at every run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli.render import plan_page
from cli.render.parts.plots import Plot, Scale, linear, logarithmic
from sizing.catalogue import load_catalogue
from sizing.inputs import Capacity, ModelEntry
from sizing.planning.document import plan_document
from sizing.planning.planner import plan_model
from sizing.planning.search.options import Market
from sizing.planning.sensitivity import study_plan
from sizing.workload.workload import Workload
from tests.cli.conftest import Tonnage
from tests.support.seeds import reseeded

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
CALL = ("plan", MODEL, "--requests-per-second", "30", "--input-tokens", "900", "--output-tokens", "250")
ONE_CARD = (*CALL, "--gpu", "L40S")
ENTRY = ModelEntry(
    name="chat", model=MODEL, workload=Workload(requests_per_second=30, input_tokens=900, output_tokens=250)
)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    from cli.__main__ import run

    target = tmp_path_factory.mktemp("page") / "plan.html"
    assert run((*CALL, "--max-monthly-usd", "60000", "--html", str(target), "--format", "json")) == 0
    return target.read_text(encoding="utf-8")


def test_the_page_holds_six_plots_and_loads_nothing(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    assert reader.tags.count("svg") == 6
    assert reader.addresses == []
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    for word in ("@import", "url(", "@font-face"):
        assert word not in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    "words",
    ["objective 80 ms", "objective 2000 ms", ", chosen", "hour of the day", "limit $60,000", "times the traffic",
     "times the output length", "Why the others lost", "what it trades", "throughput_constants.json", "not sold in"],
)  # fmt: skip
def test_the_page_says(page: str, words: str) -> None:
    assert words in page


def test_the_choice_of_the_page_is_that_of_the_command(page: str, tonnage: Tonnage) -> None:
    document = tonnage(*CALL, "--max-monthly-usd", "60000", "--format", "json").document
    chosen = document["chosen"]
    assert f"{chosen['instance_type']}, {chosen['gpu']}, TP {chosen['tensor_parallel']}" in page
    assert chosen["trades"] == []
    assert all(option["trades"] for option in document["alternatives"])


def test_progress_goes_to_standard_error_and_the_document_to_standard_output(tonnage: Tonnage, tmp_path: Path) -> None:
    called = tonnage(*ONE_CARD, "--html", str(tmp_path / "p.html"), "--format", "json")
    assert called.document["schema"] == 1
    assert called.err.count("\n") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]


def test_a_page_that_cannot_be_written_is_one_line(tonnage: Tonnage, tmp_path: Path) -> None:
    called = tonnage(*ONE_CARD, "--html", str(tmp_path / "missing" / "p.html"))
    assert called.err.splitlines()[-1].startswith("--html: cannot write ")
    assert (called.code, called.out, list(tmp_path.iterdir())) == (2, "", [])


def test_the_page_is_the_same_whatever_the_hash_seed(tonnage: Tonnage, tmp_path: Path) -> None:
    pages = [tmp_path / "here.html", tmp_path / "elsewhere.html"]
    assert tonnage(*ONE_CARD, "--html", str(pages[0])).code == 0
    called = [sys.executable, "-m", "cli", *ONE_CARD, "--html", str(pages[1])]
    subprocess.run(called, capture_output=True, check=True, env=reseeded())
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_every_name_is_escaped() -> None:
    catalogue, one_card, bad = load_catalogue(), Capacity(gpus=("L40S",)), "<script>alert('&')</script>\""
    result = plan_model(ENTRY, Market(capacity=one_card, region="us-east-1", catalogue=catalogue))
    study = study_plan(result, ENTRY, Market(capacity=one_card, region="us-east-1", catalogue=catalogue))
    points = tuple(replace(point, name=bad, gpu=bad) for point in study.options)
    steps = tuple(replace(step, name=bad, gpu=bad) for step in study.traffic)
    refused = (*study.output_tokens[:-1], replace(study.output_tokens[-1], usd_per_month=None, refusal=bad))
    figure = replace(result.chosen.figures[0], rule=bad, unit=bad, source=bad, inputs={bad: bad})
    hostile = replace(result, chosen=replace(result.chosen, figures=(*result.chosen.figures, figure)))
    document = plan_document(result, ENTRY, "us-east-1", bad, load_catalogue()) | {"model": bad, "region": bad}
    document["rejected"] = [{"option": bad, "reason": bad}]
    for option in (document["chosen"], *document["alternatives"]):
        option |= {"gpu": bad, "instance_type": bad, "engine_args": [bad], "trades": [bad]}
    drawn = plan_page.html(
        document, replace(study, result=hostile, options=points, traffic=steps, output_tokens=refused)
    )
    reader = Reader()
    reader.feed(drawn)
    assert "script" not in reader.tags
    assert "&lt;script&gt;" in drawn


def test_scales_are_monotone_and_their_ticks_lie_within() -> None:
    for scale in (linear([3.0, 7.0], 0, 100), logarithmic([3.0, 700.0], 0, 100)):
        places = [scale.at(value) for value in scale.ticks()]
        assert places == sorted(places)
        assert len(places) >= 2
        assert all(0 <= place <= 100 for place in places)
    assert linear([], 0, 100).at(0) == 0
    assert logarithmic([0.0], 0, 100).ticks()


def test_labels_do_not_cover_each_other() -> None:
    ends = {"low": 0.0, "high": 10.0}
    plot = Plot(title="x", width=300, height=300, x=Scale(**ends, start=0, end=300), y=Scale(**ends, start=300, end=0))
    placed = [plot.label(150, 150, "a label of some length") for _ in range(20)]
    assert placed[0] is True
    assert placed[-1] is False
    boxes = plot.words
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
