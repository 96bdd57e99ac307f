"""The documentation: links resolve, every page is on a shelf of the index, decisions have their sections."""

from __future__ import annotations

import functools
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

from infra.offline import run_offline

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
DECISIONS = sorted((DOCS / "adr").glob("0*.md"))
FOLDERS = (
    "benchmarks",
    "cli",
    "components",
    "docs",
    "infra",
    "policies",
    "rehearsal",
    "runtime",
    "sizing",
    "stacks",
    "tests",
)
SECTIONS = ("Context", "Decision", "Alternatives", "Consequences")


@functools.cache
def tree() -> list[Path]:
    """Return every file of the repository, also new ones; what git ignores is left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).exists()]


def pages() -> list[Path]:
    """Return every Markdown page of the repository."""
    return [path for path in tree() if path.suffix == ".md"]


def prose(page: Path) -> str:
    """Return a page without its code."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda code: re.sub(r"[\[\]()]", "", code[0]), text)


def links(page: Path) -> list[tuple[Path, str]]:
    """Return (file, anchor) of every relative link."""
    found = re.findall(r"\]\(\s*([^)\s]+)[^)]*\)", prose(page))
    parts = [unquote(link).partition("#") for link in found if not re.match(r"[a-z]+:", link)]
    return [((page.parent / file).resolve() if file else page, anchor) for file, _, anchor in parts]


@functools.cache
def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#{1,6} +(.+?) *$", prose(page), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


def broken(page: Path) -> list[str]:
    return [
        f"{file.name}#{anchor}" if anchor else file.name
        for file, anchor in links(page)
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file))
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_file_and_a_broken_anchor_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b[]`\n[gone](gone.md) [no](#a-c) [yes](#a-b) [out](https://example.com)\n```\n[x](y)\n```\n")
    assert broken(page) == ["gone.md", "page.md#a-c"]


@pytest.mark.parametrize(
    "page", [page for page in pages() if page.parent != DOCS / "reports"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_path_that_a_page_names_is_in_the_tree(page: Path) -> None:
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", page.read_text(encoding="utf-8"))
    known = {place for file in tree() for place in (file, *file.parents)}
    assert [path for path in named if ROOT / path not in known] == []


def test_every_page_of_the_documentation_is_one_click_from_its_index() -> None:
    listed = {file for file, _ in links(INDEX)} | {INDEX}
    assert [str(page.relative_to(DOCS)) for page in pages() if DOCS in page.parents and page not in listed] == []


def test_every_line_of_the_index_says_what_question_its_page_answers() -> None:
    rows = [line for line in INDEX.read_text(encoding="utf-8").splitlines() if "](" in line]
    assert [row for row in rows if not row.endswith("? |")] == []


@pytest.mark.parametrize("page", [*DECISIONS, DOCS / "adr" / "template.md"], ids=lambda page: page.stem)
def test_a_decision_says_context_decision_alternatives_and_consequences_in_this_order(page: Path) -> None:
    titles = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [title for title in titles if title in SECTIONS] == list(SECTIONS)


def test_the_terms_of_the_glossary_are_in_alphabetical_order_and_each_links_a_page() -> None:
    text = (DOCS / "concepts" / "glossary.md").read_text(encoding="utf-8")
    entries = re.split(r"^- ", text, flags=re.MULTILINE)[1:]
    terms = [re.sub(r"[`*]", "", entry.partition("**")[2].partition("**")[0]).lower() for entry in entries]
    assert terms == sorted(terms)
    assert [term for term, entry in zip(terms, entries, strict=True) if "](" not in entry] == []


def test_the_page_of_the_first_request_names_what_the_dev_stack_makes() -> None:
    page = (DOCS / "how-to" / "first-request.md").read_text(encoding="utf-8")
    made = {one.name: one.props for one in run_offline("dev", stacks_dir=ROOT / "stacks").resources}
    gateway, keys = made["gateway-gateway"], made["gateway-keys"]
    assert f"kubectl get gateway {gateway['metadata']['name']} --namespace {gateway['metadata']['namespace']}" in page
    assert f"kubectl get secret {keys['spec']['target']['name']} --namespace {keys['metadata']['namespace']}" in page
    assert f"--secret-id {keys['spec']['dataFrom'][0]['extract']['key']}" in page
    assert f":{gateway['spec']['listeners'][0]['port']}\n" in page
    served = made["gateway-chat-route"]["spec"]["rules"][0]["matches"][0]["path"]["value"]
    asked = re.findall(r"\$ADDRESS(/[\w./-]+)", page)
    assert asked
    assert [path for path in asked if re.fullmatch(served, path) is None] == []


@pytest.mark.parametrize(
    ("question", "page", "answer"),
    [
        ("how do I send a request", "how-to/first-request.md", "chat/completions"),
        ("what does a key of a stack file do", "reference/stack-file.md", "`sharePools`"),
        ("what does a word mean", "concepts/glossary.md", "**TTFT**"),
    ],
)
def test_a_question_is_answered_one_click_from_the_index(question: str, page: str, answer: str) -> None:
    assert DOCS / page in {file for file, _ in links(INDEX)}
    assert answer in (DOCS / page).read_text(encoding="utf-8"), question
