"""Draw the import graph of our folders into docs/concepts/architecture.md, measured from the code.

The drawing stands between two markers; the rest of the page is written by hand. ``--check`` fails when the
page is not what the code says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import grimp

FOLDERS = ("cli", "rehearsal", "policies", "infra", "components", "sizing", "runtime")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "architecture.md"
BEGIN, END = "<!-- imports: begin -->", "<!-- imports: end -->"


def arrows() -> list[tuple[str, str, int]]:
    """Return (importing folder, imported folder, number of import lines), sorted."""
    graph = grimp.build_graph(*FOLDERS, cache_dir=None)
    counts: dict[tuple[str, str], int] = {}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = (module.split(".")[0], imported.split(".")[0])
            if pair[0] != pair[1]:
                counts[pair] = counts.get(pair, 0) + 1
    return sorted((start, end, count) for (start, end), count in counts.items())


def drawing() -> str:
    """Return the Mermaid drawing."""
    lines = ["```mermaid", "graph TD", *(f"    {folder}" for folder in FOLDERS)]
    lines += [f"    {start} -->|{count}| {end}" for start, end, count in arrows()]
    return "\n".join([*lines, "```"])


def main() -> int:
    """Write the page, or compare it with ``--check``."""
    text = PAGE.read_text()
    head, rest = text.split(BEGIN, 1)
    _, tail = rest.split(END, 1)
    wanted = f"{head}{BEGIN}\n{drawing()}\n{END}{tail}"
    if "--check" in sys.argv:
        return int(wanted != text)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
