"""Time as a ratio: how long something takes over a fixed piece of arithmetic, on the same machine in one run."""

from __future__ import annotations

import time
from collections.abc import Callable


def cpu_seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """Return the least processor time of ``action``; what else the machine does counts little."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return min(taken)


def million_squares() -> int:
    """The yardstick: about 50 ms of plain Python on a machine of 2024."""
    return sum(i * i for i in range(1_000_000))
