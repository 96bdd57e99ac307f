"""``tonnage rehearse``: the real engine on the local control plane."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cli import options as o


def rehearse(
    stack: o.Stack,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running and say how to look around.")] = False,
    scenario: Annotated[
        str | None,
        typer.Option("--scenario", metavar="NAME", help="Also play one: spot-reclaim, zone-loss or upgrades."),
    ] = None,
    gpu_limit: Annotated[
        list[str] | None,
        typer.Option("--gpu-limit", metavar="POOL=N", help="Cut a pool's GPU limit by hand after up; repeatable."),
    ] = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """The real engine against a real API server and scheduler with simulated GPU nodes; exit 3 when it fails."""
    from cli.adapters.stacks import stacks_dir
    from cli.output import show, tell
    from cli.render import rehearsal as render
    from rehearsal.run import rehearse as run

    folder = stacks_dir()
    report = run(
        stack,
        keep=keep,
        scenario=scenario,
        gpu_limits=_limits(gpu_limit or []),
        progress=tell,
        planned=partial(_show_plan, stack, folder) if output_format is o.Format.TEXT else _nothing,
        stacks_dir=folder,
    )
    show(report.to_document(), output_format, text=render.text, markdown=render.markdown)
    if not report.passed:
        raise typer.Exit(3)


def _show_plan(stack: str, folder: Path) -> None:
    """Print plan and bill as ``tonnage preview`` does, before the rehearsal starts."""
    from cli.output import console
    from cli.render.preview import plan_and_bill
    from cli.verbs.preview import preview_document

    console().print(plan_and_bill(preview_document(stack, folder)))


def _nothing() -> None:
    """Print no plan: with JSON the only document is the report at the end."""


def _limits(options: list[str]) -> dict[str, int]:
    """Read ``POOL=N`` options."""
    from sizing.errors import BadInput

    limits: dict[str, int] = {}
    for text in options:
        pool, _, number = text.partition("=")
        if not pool or not number.lstrip("-").isdigit():
            raise BadInput("--gpu-limit", f"{text!r} is not POOL=N", way_out="for example --gpu-limit chat-spot=0")
        limits[pool] = int(number)
    return limits
