"""Print how long our functions are, docstrings not counted: median, 90th percentile, the longest five.

Run by ``make check``. It informs and never fails: a reader of the change judges, a number does not.
"""

from __future__ import annotations

import ast
from pathlib import Path

FOLDERS = ("sizing", "components", "infra", "policies", "rehearsal", "cli", "runtime")
ROOT = Path(__file__).resolve().parents[2]


def function_lengths(root: Path = ROOT) -> list[tuple[int, str]]:
    """Return (lines without docstring, ``file:function``) of every function, longest first."""
    found: list[tuple[int, str]] = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    found += [(_lines(node), f"{path.relative_to(root)}:{node.name}")]
    return sorted(found, key=lambda item: (-item[0], item[1]))


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    last = node.end_lineno or node.lineno
    docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if ast.get_docstring(node) else 0
    return last - node.lineno + 1 - docstring


def main() -> None:
    """Print the figures."""
    lengths = function_lengths()
    sizes = sorted(size for size, _ in lengths)
    p90 = sizes[int(0.9 * (len(sizes) - 1))]
    over = sum(size > 60 for size in sizes)
    print(
        f"functions: {len(sizes)}, median {sizes[len(sizes) // 2]} lines, 90th percentile {p90}, over 60 lines: {over}"
    )
    for size, where in lengths[:5]:
        print(f"  {size:3d}  {where}")


if __name__ == "__main__":
    main()
