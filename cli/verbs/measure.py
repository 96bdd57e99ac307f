"""``tonnage measure``: what a running vLLM reports against what was predicted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o
from cli.engine_options import EngineOptions
from cli.option_groups import with_groups

if TYPE_CHECKING:
    from sizing.observe.logs.settings import Setting
    from sizing.observe.measured import Measured
    from sizing.observe.prediction import Prediction

CHUNK_BYTES = 1 << 18
STANDARD_INPUT = "-"
Log = Annotated[str | None, typer.Option("--log", metavar="FILE", help="Start-up log of vLLM; - reads standard input.")]
Endpoint = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="Running server, for example http://host:8000.")
]
StackToCompare = Annotated[
    str | None, typer.Option("--stack", metavar="STACK", help="Compare with what this stack plans.")
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="MODEL", help="Catalogue name, config.json or folder; with --stack its entry."),
]
GpuName = Annotated[
    str | None, typer.Option("--gpu", metavar="GPU", help="GPU type. Default: what the log names, or its total.")
]


@with_groups
def measure(
    *,
    log: Log = None,
    endpoint: Endpoint = None,
    stack: StackToCompare = None,
    model: ModelName = None,
    gpu: GpuName = None,
    engine: EngineOptions,
    gpu_total_gib: o.GpuTotalGib = None,
    weights_gib: o.WeightsGib = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """What a running vLLM reports against what was predicted; exit 3 when the stack should change.

    Settings come from the log or the server; an option states what they do not say.
    """
    from cli.output import show
    from cli.render import measure as render
    from sizing.observe.measurement import measure as compare
    from sizing.observe.measurement import measurement_document

    engine.overrides()
    stated = engine.given()
    totals = o.positive("--gpu-total-gib", gpu_total_gib), o.positive("--weights-gib", weights_gib)
    if stack is not None:
        _refuse_beside_stack({"gpu": gpu, "gpu_total_gib": totals[0], "weights_gib": totals[1], **stated})
    measured = _measured(log, endpoint)
    prediction = _of_stack(measured, stack, model) if stack else _of_settings(measured, model, gpu, stated, totals)
    document = measurement_document(compare(measured, prediction))
    show(document, output_format, text=render.text, markdown=render.markdown)
    if document["change"]:
        raise typer.Exit(3)


def _refuse_beside_stack(options: Mapping[str, Setting | None]) -> None:
    from sizing.errors import BadInput

    for key, value in options.items():
        if value is not None:
            option = "--" + key.replace("_", "-")
            raise BadInput(option, "the stack says it", way_out=f"leave {option} or --stack out")


def _measured(log: str | None, endpoint: str | None) -> Measured:
    from sizing.errors import BadInput

    if (log is None) == (endpoint is None):
        raise BadInput("--log", "give a log or an endpoint, one of both", way_out="--log FILE or --endpoint URL")
    if endpoint is not None:
        from cli.adapters.endpoint import read_endpoint

        return read_endpoint(endpoint)
    from sizing.observe.logs.startup_log import parse_startup_log
    from sizing.observe.measured import measured_of_log

    return measured_of_log(parse_startup_log(_chunks(str(log))))


def _chunks(name: str) -> Iterator[bytes]:
    """Yield the bytes of a regular file or of standard input; BadInput for anything else."""
    from sizing.errors import BadInput

    if name == STANDARD_INPUT:
        while chunk := sys.stdin.buffer.read(CHUNK_BYTES):
            yield chunk
        return
    try:
        if "\0" in name or not Path(name).is_file():
            raise BadInput("--log", f"{name[:200]!r} is not a file", way_out="pipe what is none into --log -")
        with Path(name).open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise BadInput("--log", f"cannot read {name[:200]!r}: {error.strerror or error}") from error


def _of_settings(
    measured: Measured,
    model: str | None,
    gpu: str | None,
    stated: Mapping[str, Setting | None],
    totals: tuple[float | None, float | None],
) -> Prediction:
    from cli.adapters.sources import find_model
    from sizing.catalogue import load_catalogue
    from sizing.observe.measured import find_gpu, find_model_name
    from sizing.observe.prediction import predict

    catalogue = load_catalogue()
    card, why = find_gpu(measured, gpu, catalogue)
    return predict(
        measured,
        find_model(find_model_name(measured, model, catalogue), catalogue),
        card,
        gpu_source=why,
        stated=stated,
        gpu_total_gib=totals[0],
        weights_gib=totals[1],
    )


def _of_stack(measured: Measured, stack: str, model: str | None) -> Prediction:
    from cli.adapters.stacks import stacks_dir
    from infra.request import request_of_file
    from sizing.observe.prediction import stack_prediction
    from sizing.planning.planner import plan_stack

    request = request_of_file(stack, stacks_dir(), "--stack")
    return stack_prediction(measured, plan_stack(request), request.models, model, request.catalogue)
