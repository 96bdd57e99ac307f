"""Calibrated constants of the throughput estimate, read once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sizing.catalogue.files import dated_file


def throughput_constants() -> Mapping[str, Any]:
    """Return the calibrated constants with their provenance (read once)."""
    return dated_file("throughput_constants")
