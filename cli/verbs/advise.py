"""``tonnage advise``: what a stack should say, given what one of its replicas carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o

if TYPE_CHECKING:
    from sizing.observe.measured import Measured
    from sizing.observe.running import Running

CHUNK_BYTES = 1 << 18
INTERVAL_S = 15.0


def advise(
    stack: o.Stack,
    *,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", metavar="URL", help="One running pod, for example http://host:8000.")
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="FILE", help="Its log instead, start-up included.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="ENTRY", help="Entry of the stack. Default: what is served.")
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", metavar="S", help="Seconds between two scrapes of the endpoint.")
    ] = INTERVAL_S,
    replicas: Annotated[
        int | None,
        typer.Option(
            "--replicas",
            metavar="N",
            min=1,
            max=1000,
            help="Replicas that share the traffic. Default: what the plan keeps at this load.",
        ),
    ] = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """Compare what runs with the plan of a stack and propose changes with their savings; edits nothing.

    Exit 0: keep it, the change would be below 5 %. Exit 3: a change is proposed, as by `measure`; it is shown all the
    same and is no error.
    """
    from cli.adapters.stacks import stacks_dir
    from cli.output import show
    from cli.render import advise as render
    from infra.request import request_of_file
    from sizing.errors import BadInput
    from sizing.observe.advice import advise as weigh
    from sizing.observe.advice import check_served, find_entry
    from sizing.observe.advice_document import advice_document

    if (log is None) == (endpoint is None):
        raise BadInput("--endpoint", "give an endpoint or a log, one of both", way_out="--endpoint URL or --log FILE")
    if not 0 < interval <= 3600:
        raise BadInput("--interval", f"{interval:g} is not usable", limit="more than 0, at most 3600 seconds")
    request = request_of_file(stack, stacks_dir(), "stack")
    measured, running = _of_endpoint(endpoint, interval) if endpoint is not None else _of_log(str(log))
    entry = find_entry(request, model, measured.model)
    check_served(entry, measured.model, request.catalogue)
    document = advice_document(weigh(request, entry, running, measured, replicas=replicas))
    show(document, output_format, text=render.text, markdown=render.markdown)
    if document["advice"] == "change":
        raise typer.Exit(3)


def _of_endpoint(address: str, interval: float) -> tuple[Measured, Running]:
    from cli.adapters.endpoint import read_twice, server_address
    from cli.output import tell

    server_address(address)
    tell(f"two scrapes, {interval:g} s apart")
    return read_twice(address, interval)


def _of_log(name: str) -> tuple[Measured, Running | None]:
    """Read the log twice: its start-up, and its throughput lines."""
    from sizing.observe.logs.startup_log import parse_startup_log
    from sizing.observe.measured import measured_of_log
    from sizing.observe.running import running_of_log

    return measured_of_log(parse_startup_log(_chunks(name))), running_of_log(_chunks(name))


def _chunks(name: str) -> Iterator[bytes]:
    from sizing.errors import BadInput

    try:
        if "\0" in name or not Path(name).is_file():
            raise BadInput("--log", f"{name[:200]!r} is not a file")
        with Path(name).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise BadInput("--log", f"cannot read {name[:200]!r}: {error.strerror or error}") from error
