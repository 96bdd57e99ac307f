"""Errors of the rehearsal: one line each, with the exit code of the command."""

from __future__ import annotations

from sizing.errors import TonnageError


class ToolError(TonnageError):
    """A pinned tool is neither there nor can it be built (exit 2)."""


class RehearsalFailed(TonnageError):
    """Something that the rehearsal started refused, crashed or did not become ready in time (exit 3)."""

    exit_code = 3
