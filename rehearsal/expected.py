"""What building will take: measured processor time and megabytes of each step, out of ``tools/measured.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rehearsal.compiler import STANDARD_LIBRARY
from rehearsal.toolset import Manifests, Module

MANIFESTS = "manifests"
COMPILER = "compiler"
CORES_USED = 4
"""More cores than this are idle during the last packages and the linker."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measurement of all steps: ``steps`` has (seconds of processor, megabytes that stay) by module or kind."""

    date: str
    machine: str
    peak_mb: int
    steps: Mapping[str, tuple[float, float]]

    @classmethod
    def read(cls, pins: Path) -> Measured | None:
        """Return the measurement made with these pins; None without one."""
        path = pins / "measured.json"
        if not path.is_file():
            return None
        found = json.loads(path.read_text())
        steps = {name: (step["processor_seconds"], step["megabytes"]) for name, step in found["steps"].items()}
        return cls(date=found["date"], machine=found["machine"], peak_mb=found["peak_megabytes"], steps=steps)


def announcement(
    missing: Sequence[tuple[Module, Sequence[str]]],
    lacking: Sequence[Manifests],
    measured: Measured | None,
    *,
    where: str,
    compiler: bool,
    cores: int,
) -> Iterator[str]:
    """Yield what is to be built: each tool with minutes and size, then all together. Nothing when nothing is.

    ``lacking``: modules whose files are fetched. ``where``: the cache folder. ``compiler``: whether Go is missing too.
    Minutes are processor time over ``cores``: what an idle machine takes, a busy one takes longer.
    """
    if not missing and not lacking:
        return
    yield f"to build, once, into {where}; later calls find it there:"
    steps = [(COMPILER, "Go compiler, as a wheel")] if compiler else []
    steps += [(STANDARD_LIBRARY, f"{STANDARD_LIBRARY} of Go, shared by all tools")] if missing else []
    steps += [(module.name, module.title(names)) for module, names in missing]
    steps += [(MANIFESTS, f"definitions and stages of {len(lacking)} modules, fetched")] if lacking else []
    known = measured.steps if measured else {}
    used = min(cores, CORES_USED)
    for name, title in steps:
        yield f"  {title}: {_figures(known[name], used) if name in known else 'not measured'}"
    if measured and all(name in known for name, _ in steps):
        minutes = math.ceil(sum(known[name][0] for name, _ in steps) / used / 60)
        unit = "minutes" if minutes > 1 else "minute"
        size = f"{sum(known[name][1] for name, _ in steps):,.0f} MB, at most {measured.peak_mb:,} MB meanwhile"
        yield f"  together about {minutes} {unit} on {used} idle cores and {size}"
        yield f"  (measured {measured.date}, {measured.machine}; an interrupted build goes on where it stopped)"


def _figures(step: tuple[float, float], cores: int) -> str:
    seconds, megabytes = step
    return f"{max(seconds / cores / 60, 0.1):.1f} minutes" + (f", {megabytes:,.0f} MB" if megabytes else "")
