"""Draws ``docs/reports/pictures/preview-prod.svg``, the text preview of ``prod`` as a terminal shows it.

``python -m tools.generators.picture``; the figures are those of the stack file, nothing is edited by hand.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from cli.render.preview import text
from cli.verbs.preview import preview_document

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "reports" / "pictures" / "preview-prod.svg"
WIDTH = 120


def draw(stack: str = "prod") -> str:
    """Return the preview of ``stack`` as an SVG; the same stack gives the same bytes."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, markup=False, highlight=False)
    console.print(text(preview_document(stack, ROOT / "stacks")))
    template = re.sub(
        r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
    )  # fonts of the reader's machine
    return console.export_svg(title=f"tonnage preview {stack}", unique_id="preview", code_format=template)


def main() -> None:
    """Write the picture."""
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
