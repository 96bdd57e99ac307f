"""Committed renderings: a test compares with them, ``UPDATE_GOLDEN=1`` in the environment rewrites them."""

from __future__ import annotations

import json
import os
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"


def assert_golden(name: str, document: object) -> None:
    """Compare a document, as sorted JSON, with ``tests/golden/<name>.json``."""
    rendered = json.dumps(document, indent=2, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        file.write_text(rendered, encoding="utf-8")
    assert file.exists(), f"{file.name} is not committed; UPDATE_GOLDEN=1 writes it"
    assert rendered == file.read_text(encoding="utf-8"), f"{file.name} differs; UPDATE_GOLDEN=1, if it is meant"
