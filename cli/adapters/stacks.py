"""Where the stack files are: the project around the working folder, else the one that the command came with."""

from __future__ import annotations

import os
from pathlib import Path

from sizing.errors import BadInput

VARIABLE = "TONNAGE_STACKS"


def stacks_dir() -> Path:
    """Return the folder of stack files; BadInput when ``TONNAGE_STACKS`` names none."""
    stated = os.environ.get(VARIABLE)
    if stated:
        if not Path(stated).is_dir():
            raise BadInput(VARIABLE, f"{stated!r} is not a folder")
        return Path(stated)
    from infra.config import STACKS_DIR

    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file() and (folder / "stacks").is_dir():
            return folder / "stacks"
    return STACKS_DIR
