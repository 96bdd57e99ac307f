"""Writes the reference: ``docs/reference/command.md`` from ``--help``, ``architectures.md`` from the families.

``python -m tools.generators.command_reference``; with ``--check`` it only compares and leaves with 1 when a page is
stale.
"""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from cli.__main__ import run
from cli.app import command

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "command.md"
ARCHITECTURES = ROOT / "docs" / "reference" / "architectures.md"
INTRODUCTION = """# The command

Written by `make docs` from `tonnage VERB --help`; do not edit. `--format json` is a stable contract: each document has
a `schema` number, and within one number no key is renamed or removed. `tonnage` reads `HF_ENDPOINT`, `HF_TOKEN` and
`HF_HUB_OFFLINE` for models that are not in the catalogue, `TONNAGE_STACKS` for another folder of stack files, and
`NO_COLOR`; `TONNAGE_TRACEBACK=1` shows where an internal error came from.
"""


def page() -> str:
    """Return the page: the help of every verb."""
    paths = [(), *_verbs(command(), ())]
    sections = [f"## {' '.join(('tonnage', *path))}\n\n```text\n{_help(path)}\n```\n" for path in paths]
    return "\n".join([INTRODUCTION, *sections])


def architectures() -> str:
    """Return the page of modelled architectures: one line a family with what its file says it is."""
    from sizing.models.families import FAMILIES

    lines = [
        "# Architectures that are modelled",
        "",
        "Written by `make docs` from `sizing/models/families`; do not edit. The names are those of `architectures` in",
        "`config.json`. Anything else is refused by name: without its family neither weights nor cache are known.",
        "",
        "| family | what it is | architectures |",
        "|---|---|---|",
    ]
    for family in FAMILIES:
        what = (family.__doc__ or "").strip().splitlines()[0]
        names = ", ".join(f"`{name}`" for name in sorted(family.ARCHITECTURES))
        lines.append(f"| `{family.__name__.rsplit('.', maxsplit=1)[-1]}` | {what} | {names} |")
    return "\n".join([*lines, ""])


def _verbs(group: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = []
    for name, verb in getattr(group, "commands", {}).items():
        found += [(*path, name), *_verbs(verb, (*path, name))]
    return found


def _help(path: tuple[str, ...]) -> str:
    shown = io.StringIO()
    with redirect_stdout(shown):
        run([*path, "--help"])
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def main() -> None:
    """Write the pages, or with ``--check`` leave with 1 when one is stale."""
    pages = {PAGE: page(), ARCHITECTURES: architectures()}
    if "--check" in sys.argv[1:]:
        sys.exit(int(any(not p.is_file() or p.read_text(encoding="utf-8") != text for p, text in pages.items())))
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
