"""Writes ``docs/field-reports.md``: what happens to others who serve models on EKS, and why it does not happen here.

The reports are ``tests/data/field-reports.json``: public issue threads and findings of independent trials, each with
its verdict, the mechanism or the sentence that refuses it, and the test that shows it.
``python -m tools.generators.field_reports``; ``problems`` says which row claims more than its test shows.
"""

from __future__ import annotations

import ast
import functools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "field-reports.json"
PAGE = ROOT / "docs" / "field-reports.md"
VERDICTS = {
    "impossible": "cannot happen: how the stack is built rules it out",
    "caught": "refused or named in the preview, before anything is created",
    "open": "can happen; the row says why",
}
INTRODUCTION = """# Field reports

Written by `make docs` from `tests/data/field-reports.json`; do not edit. What people who serve models on EKS reported
in public, and what trials of this project with the official engine, the real Karpenter and a real vLLM found: for each
the reason why it does not happen here, or the sentence with which it is refused, and the test that shows it. Issue
threads are what users wrote; they were not verified. A test of the documentation fails when a named test is gone or no
longer asserts the sentence.
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """One reported case; ``id`` is a number for a public case and ``R`` with a number for a finding of a trial."""

    id: str
    case: str
    verdict: str
    how: str
    sources: tuple[str, ...] = ()
    """``owner/repository#number`` of the threads."""
    sentence: str = ""
    """Part of the refusal, word for word as the test asserts it."""
    test: str = ""
    """``file::function``; empty only for what is open."""

    @property
    def public(self) -> bool:
        """Whether it is a public case."""
        return self.id.isdigit()


@functools.cache
def reports() -> tuple[Report, ...]:
    """Return the reports in the order of the file. Raises ``TypeError`` for an unknown key."""
    rows = json.loads(DATA.read_text(encoding="utf-8"))
    return tuple(Report(**{**row, "sources": tuple(row.get("sources", ()))}) for row in rows)


def page() -> str:
    """Return the page: how many of each verdict, then one table of public cases and one of findings."""
    public = [report for report in reports() if report.public]
    found = [report for report in reports() if not report.public]
    return "\n".join(
        [
            INTRODUCTION,
            *_summary(public, found),
            "\n## Public cases\n",
            *_table(public),
            "\n## Findings of trials\n",
            *_table(found),
            "",
        ]
    )


def problems(rows: Sequence[Report] | None = None) -> list[str]:
    """Return what speaks against the rows: unknown verdicts, missing tests, sentences that no test asserts."""
    return [problem for report in (reports() if rows is None else rows) for problem in _problems(report)]


def _problems(report: Report) -> Iterator[str]:
    if report.verdict not in VERDICTS:
        yield f"{report.id}: verdict {report.verdict!r} is none of {', '.join(VERDICTS)}"
    if report.public and not report.sources:
        yield f"{report.id}: a public case without a source"
    if report.verdict == "open":
        return
    file, _, name = report.test.partition("::")
    if name not in _functions(file):
        yield f"{report.id}: there is no test {report.test!r}"
    elif report.sentence and report.sentence not in _text(file):
        yield f"{report.id}: {file} does not assert {report.sentence!r}"


@functools.cache
def _text(file: str) -> str:
    path = ROOT / file
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@functools.cache
def _functions(file: str) -> frozenset[str]:
    return frozenset(node.name for node in ast.walk(ast.parse(_text(file))) if isinstance(node, ast.FunctionDef))


def _summary(public: Sequence[Report], found: Sequence[Report]) -> Iterator[str]:
    yield "| verdict | public cases | findings | meaning |"
    yield "| --- | ---: | ---: | --- |"
    counts = [Counter(report.verdict for report in rows) for rows in (public, found)]
    for verdict, meaning in VERDICTS.items():
        yield f"| {verdict} | {counts[0][verdict]} | {counts[1][verdict]} | {meaning} |"
    yield f"| all | {len(public)} | {len(found)} | |"


def _table(rows: Sequence[Report]) -> Iterator[str]:
    yield "| # | what happened | here | why, or the sentence | test |"
    yield "| --- | --- | --- | --- | --- |"
    for report in rows:
        where = " ".join(_link(source) for source in report.sources)
        told = f"{report.how}: *{report.sentence}*" if report.sentence else report.how
        cells = (report.id, f"{report.case} {where}".strip(), report.verdict, told, _test(report.test))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _link(source: str) -> str:
    repository, _, number = source.partition("#")
    return f"[{source}](https://github.com/{repository}/issues/{number})"


def _test(test: str) -> str:
    file, _, name = test.partition("::")
    return f"[`{name}`](../{file})" if name else "-"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
