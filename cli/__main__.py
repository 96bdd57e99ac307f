"""Entry point: parses, runs one verb and turns every error into one line and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence

TRACEBACK = "TONNAGE_TRACEBACK"
LONGEST_LINE = 2000
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``tonnage`` and leave the process with its exit code; every failure is one line on standard error."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_standard_output()
    gc.freeze()  # the interpreter would run the garbage collector once more at exit
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one verb and return the exit code."""
    from cli.app import command, usage_error

    _open_closed_streams()
    _tolerate_narrow_encodings()
    try:
        result = command()(args=list(arguments), prog_name="tonnage", standalone_mode=False)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        _silence_standard_output()
        return 0
    except Exception as error:
        if os.environ.get(TRACEBACK):
            raise
        usage = usage_error(error, arguments)
        return _fail(*usage) if usage else _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: Exception) -> int:
    from sizing.errors import TonnageError

    if isinstance(error, TonnageError):
        return _fail(error.line(), error.exit_code)
    if isinstance(error, OSError):
        return _fail(f"{error.filename or 'system'}: {error.strerror or error}", 2)
    return _fail(f"internal error: {type(error).__name__}: {error} (run with {TRACEBACK}=1)", 1)


def _fail(line: str, code: int) -> int:
    text = "".join(char if char.isprintable() else " " for char in " ".join(line.split()))
    print(text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + "...", file=sys.stderr)
    return code


def _open_closed_streams() -> None:
    """Point a stream that the caller has closed at the null device, so that nothing fails or is mixed up."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))


def _tolerate_narrow_encodings() -> None:
    """Print characters that the terminal cannot encode as ``?``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _silence_standard_output() -> None:
    """Point standard output at the null device, so that the interpreter does not report an error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
