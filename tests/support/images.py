"""Images in miniature: the files that ``runtime/Dockerfile`` copies into each, without the base image."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPY = re.compile(r"^COPY (?P<source>\S+) /opt/tonnage/(?P<target>\S+)/$", re.MULTILINE)


def copied_files(target: str) -> dict[str, Path]:
    """Return what the image ``target`` holds below /opt/tonnage: path there -> file here."""
    text = (ROOT / "runtime" / "Dockerfile").read_text()
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)$(.*?)(?=^FROM|\Z)", text, flags=re.MULTILINE | re.DOTALL))
    return {
        f"{found['target']}/{file.name}": file
        for found in COPY.finditer(stages[target])
        for file in sorted(ROOT.glob(found["source"]))
    }


def lay_out(target: str, folder: Path) -> Path:
    """Copy the files of the image ``target`` below ``folder`` and return it: what PYTHONPATH names in the image."""
    for path, file in copied_files(target).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / path)
    return folder
