"""Units that several packages count in, each written once."""

from __future__ import annotations

import math

HOURS_PER_DAY = 24
SECONDS_PER_MINUTE = 60
SECONDS_PER_HOUR = 3600
GIB = 2**30
CENT = 0.01
MILLION = 1e6
HOURS_PER_MONTH = 730
"""Hours that AWS bills as a month in its own price examples."""


def round_up(value: float, step: int) -> int:
    """Return the least multiple of ``step`` that is not below ``value``."""
    return math.ceil(value / step) * step
