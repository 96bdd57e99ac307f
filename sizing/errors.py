"""Errors of the core: one line that names the input, the value, the limit, the reason and the way out."""

from __future__ import annotations


class TonnageError(Exception):
    """Base of every error that is meant for the user.

    ``exit_code`` is what the command returns: 2 for bad input, 3 for a clear "no".
    """

    exit_code = 2

    def __init__(self, where: str, problem: str, *, limit: str = "", way_out: str = "") -> None:
        """Compose the line: ``where`` (key or option), ``problem`` (value and reason), ``limit``, ``way_out``."""
        self.where = where
        self.problem = problem
        self.limit = limit
        self.way_out = way_out
        super().__init__(self.line())

    def line(self) -> str:
        """Return the whole message as one line, in which signs that do not print are escaped."""
        parts = [f"{self.where}: {self.problem}"]
        if self.limit:
            parts.append(f"limit: {self.limit}")
        if self.way_out:
            parts.append(f"hint: {self.way_out}")
        text = "; ".join(" ".join(part.split()) for part in parts)
        return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


class BadInput(TonnageError):
    """The input cannot mean anything: unknown key, impossible value, unsupported model (exit 2)."""


class DoesNotFit(TonnageError):
    """The model does not fit the GPU with these settings (exit 3)."""

    exit_code = 3


class NoPlan(TonnageError):
    """No option meets the objectives (exit 3)."""

    exit_code = 3


class OverBudget(TonnageError):
    """The ceiling of the bill exceeds the budget (exit 3); names the smallest budget that works."""

    exit_code = 3
