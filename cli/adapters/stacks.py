"""Finds the stack files: in the project around the working folder, else in the one of the installed command."""

from __future__ import annotations

import os
from pathlib import Path

from sizing.errors import BadInput

VARIABLE = "TONNAGE_STACKS"


def stacks_dir() -> Path:
    """Return the folder of stack files; BadInput when ``TONNAGE_STACKS`` names none."""
    given = os.environ.get(VARIABLE)
    if given:
        if not Path(given).is_dir():
            raise BadInput(VARIABLE, f"{given!r} is not a folder")
        return Path(given)
    from infra.config import STACKS_DIR

    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file() and (folder / "stacks").is_dir():
            return folder / "stacks"
    return STACKS_DIR
