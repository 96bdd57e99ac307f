"""The page of field reports: generated, complete, and each claim with a test that exists and says it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from tools.generators import field_reports

ROWS = {report.id: report for report in field_reports.reports()}


def test_the_page_is_what_the_data_say() -> None:
    assert field_reports.PAGE.read_text(encoding="utf-8") == field_reports.page(), "run `make docs`"


def test_each_of_57_cases_and_16_findings_stands_there_once() -> None:
    assert list(ROWS) == [*map(str, range(1, 58)), *(f"R{number}" for number in range(1, 17))]
    assert len(ROWS) == len(field_reports.reports())


def test_what_a_row_claims_is_shown_by_the_test_that_it_names() -> None:
    assert field_reports.problems() == []


def test_a_test_that_is_gone_and_a_sentence_that_nobody_asserts_are_noticed() -> None:
    one = replace(ROWS["14"], verdict="caught", test="tests/generators/test_field_reports.py::test_gone", sentence="")
    there = "tests/test_docs.py::test_every_relative_link_leads_to_a_file_and_a_heading_that_exist"
    other = replace(one, test=there, sentence="said by no file")
    assert field_reports.problems([one, other, replace(one, verdict="solved", sources=())]) == [
        "14: there is no test 'tests/generators/test_field_reports.py::test_gone'",
        "14: tests/test_docs.py does not assert 'said by no file'",
        "14: verdict 'solved' is none of impossible, caught, open",
        "14: a public case without a source",
        "14: there is no test 'tests/generators/test_field_reports.py::test_gone'",
    ]


def test_at_least_50_of_57_public_cases_cannot_happen_or_are_caught() -> None:
    verdicts = Counter(report.verdict for report in field_reports.reports() if report.public)
    assert verdicts["impossible"] + verdicts["caught"] >= 50
