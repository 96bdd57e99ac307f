"""How long each stage of a rehearsal takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rehearsal.report import RehearsalReport, Stage
from rehearsal.toolset import Progress


@dataclass
class Clock:
    """Times stages, reports progress, adds both to the report."""

    report: RehearsalReport
    progress: Progress
    _details: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        self.progress(f"{name} ...")
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = round(time.monotonic() - started, 2)
            detail = self._details.pop(name, "")
            self.report.stages.append(Stage(name=name, seconds=seconds, detail=detail))
            self.progress(f"{name}: {seconds:.1f} s{f', {detail}' if detail else ''}")

    def note(self, name: str, detail: str) -> None:
        """Add a detail to a stage that is under way."""
        self._details[name] = detail
