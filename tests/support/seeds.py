"""Another hash seed than this process has: what two processes print the same does not depend on the order of sets."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def reseeded() -> dict[str, str]:
    """Return the environment of a process with another hash seed, which imports this working tree."""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    return {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
