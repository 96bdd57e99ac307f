"""Writes ``docs/reference/command.md`` from ``--help``: ``python -m cli.reference`` (``--check`` only compares)."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from cli.__main__ import run
from cli.app import command

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "command.md"
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
    """Write the page, or with ``--check`` leave with 1 when it is stale."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted else 1)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
