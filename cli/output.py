"""Output of documents: standard output for the document alone, standard error for progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.options import Format

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Document = Mapping[str, Any]
WIDTH_WITHOUT_TERMINAL = 120


def show(
    document: Document,
    wanted: Format,
    *,
    text: Callable[[Document], RenderableType],
    markdown: Callable[[Document], str],
) -> None:
    """Print ``document`` on standard output in the wanted format."""
    if wanted is Format.JSON:
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
    elif wanted is Format.MARKDOWN:
        sys.stdout.write(markdown(document).rstrip("\n") + "\n")
    else:
        console().print(text(document))


def console() -> Console:
    """Return the console of standard output: as wide as the terminal, or a fixed width where there is none."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    return Console(markup=False, highlight=False, emoji=False, width=width)


def tell(line: str) -> None:
    """Print one line of progress on standard error."""
    print(line, file=sys.stderr, flush=True)


def write_file(path: Path, content: str, option: str) -> None:
    """Write ``content`` to ``path`` or not at all; BadInput names the option.

    The target of a symbolic link is replaced, not the link; a pipe or a device is written to, not replaced.
    """
    from sizing.errors import BadInput

    try:
        if path.exists() and not path.is_file():
            path.write_text(content, encoding="utf-8")
        else:
            write_files({path.resolve(): content}, option)
    except (OSError, RuntimeError, ValueError) as error:  # of a loop of links, of a name with a null byte
        raise BadInput(option, f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from error


def write_files(contents: Mapping[Path, str], option: str) -> None:
    """Write all files or none: each is written to a temporary file before the first is replaced."""
    from sizing.errors import BadInput

    drafts = {path: path.with_name(path.name + ".part") for path in contents}
    try:
        for path, draft in drafts.items():
            draft.write_text(contents[path], encoding="utf-8")
        for path, draft in drafts.items():
            draft.replace(path)
    except OSError as error:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
        raise BadInput(option, f"cannot write {error.filename}: {error.strerror or error}") from error
