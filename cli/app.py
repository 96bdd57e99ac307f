"""The verbs of ``tonnage`` and how their parser reports a mistake."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.verbs import advise, catalogue, leftovers, measure, plan, preview, rehearse, size, throughput

HELP = "Sizing, offline preview and rehearsal of self-hosted LLM serving on AWS EKS."
EPILOGUE = (
    "Exit codes: 0 yes; 2 bad input; 3 a clear no (does not fit, over budget, policy violated, rehearsal failed)."
)

app = typer.Typer(name="tonnage", help=HELP, epilog=EPILOGUE, add_completion=False, rich_markup_mode=None)
app.command("size")(size.size)
app.command("plan")(plan.plan)
app.command("throughput")(throughput.throughput)
app.command("measure")(measure.measure)
app.command("advise")(advise.advise)
app.command("preview")(preview.preview)
app.command("rehearse")(rehearse.rehearse)
app.command("leftovers")(leftovers.leftovers)
app.add_typer(catalogue.app, name="catalogue")


def print_version(wanted: bool) -> None:
    """Print the version and leave when ``--version`` was given."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tonnage {version('tonnage')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Show the verbs when none is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


root.__doc__ = HELP


def command() -> Any:
    """Return the parser of all verbs."""
    return typer.main.get_command(app)


def usage_error(error: Exception, arguments: Sequence[str]) -> tuple[str, int] | None:
    """Return (line, exit code) for a usage error or an abort; None for anything else.

    The parser does not report the refused value; it is looked up in ``arguments``.
    """
    if type(error).__name__ == "Abort":
        return "interrupted", 130
    describe = getattr(error, "format_message", None)
    if not inspect.ismethod(describe):
        return None
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "tonnage"
    return f"{where}: {describe().rstrip('.')}{_given(error, arguments)}; hint: {where} --help", 2


def _given(error: Exception, arguments: Sequence[str]) -> str:
    """Return the value of the option that the parser refuses, empty where none is found."""
    names = getattr(getattr(error, "param", None), "opts", ())
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names and (equals or place + 1 < len(arguments)):
            return f": {(value if equals else arguments[place + 1])[:80]!r} was given"
    return ""
