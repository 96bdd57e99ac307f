"""``tonnage plan``: the cheapest way to serve one model, the next best, and why each other option lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options as o

NAME_LIMIT = 40


def plan(
    *,
    model: o.Model,
    requests_per_second: o.RequestsPerSecondOptional = None,
    input_tokens: o.InputTokensOptional = None,
    output_tokens: o.OutputTokensOptional = None,
    trace: o.Trace = None,
    ttft_p95_ms: Annotated[
        float | None, typer.Option("--ttft-p95-ms", metavar="MS", help="Objective: time to first token.")
    ] = None,
    tpot_p95_ms: Annotated[
        float | None, typer.Option("--tpot-p95-ms", metavar="MS", help="Objective: time per output token.")
    ] = None,
    region: Annotated[str, typer.Option("--region", metavar="REGION", help="AWS region.")] = "us-east-1",
    gpu: o.GpuOptional = None,
    max_monthly_usd: Annotated[
        float | None, typer.Option("--max-monthly-usd", metavar="USD", help="The ceiling may not cost more a month.")
    ] = None,
    spot_share: Annotated[
        float | None, typer.Option("--spot-share", metavar="X", help="Share of replicas above the floor on spot.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=0, max=100, help="Alternatives shown.")] = 5,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a self-contained page with plots.")
    ] = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """The cheapest plan that meets the objectives, alternatives, and why the others lost; exit 3 when there is none."""
    from datetime import UTC, datetime

    from cli.output import show, tell
    from cli.render import plan as render
    from cli.sources import find_model
    from sizing.ages import stale_prices
    from sizing.catalogue import load_catalogue
    from sizing.inputs import Capacity, EngineOverrides, ModelEntry, Objectives, Workload
    from sizing.plan_document import plan_document
    from sizing.planner import plan_model

    catalogue = load_catalogue()
    spec = find_model(model, catalogue)
    traffic = {"requestsPerSecond": requests_per_second, "inputTokens": input_tokens, "outputTokens": output_tokens}
    workload = o.stated(Workload, _told(traffic, trace))
    entry = ModelEntry(
        name=service_name(spec.name),
        model=spec.name,
        workload=workload,
        objectives=o.stated(Objectives, {"ttft_p95_ms": ttft_p95_ms, "tpot_p95_ms": tpot_p95_ms}),
        engine=EngineOverrides(gpu=catalogue.gpu(gpu).name if gpu else None),
    )
    capacity, catalogue = o.stated(Capacity, {"spot_share": spot_share}), catalogue.with_model(spec)
    limit = o.positive("--max-monthly-usd", max_monthly_usd)
    result = plan_model(entry, capacity, region, catalogue, max_monthly_usd=limit, top=top)
    document = plan_document(result, entry, region, catalogue.date, catalogue)
    if html:
        _write_page(html, document, (result, entry, capacity, region, catalogue), limit)
    for line in stale_prices(datetime.now(UTC).date()):
        tell(line)
    show(document, output_format, text=render.text, markdown=render.markdown)


def _told(traffic: Mapping[str, float | None], trace: str | None) -> Mapping[str, Any]:
    """Return the workload by the keys of a stack file; BadInput for a figure that neither option nor trace tells."""
    from sizing.errors import BadInput

    stated = {key: value for key, value in traffic.items() if value is not None}
    if trace is not None:
        from infra.traces import told_by_trace

        return told_by_trace({**stated, "trace": trace}, Path.cwd(), "--trace")
    for key in traffic:
        if key not in stated:
            raise BadInput(o.option_of(key), "missing", way_out="state it, or --trace FILE that tells it")
    return stated


def _write_page(html: Path, document: Mapping[str, Any], planned: tuple[Any, ...], limit: float | None) -> None:
    """Study the plan around its workload and write the page with plots."""
    from cli.output import tell, write_file
    from cli.render import plan_page
    from sizing.plan_study import study_plan

    study = study_plan(*planned, max_monthly_usd=limit, progress=tell)
    write_file(html, plan_page.html(document, study), "--html")


def service_name(model: str) -> str:
    """Return a name that Kubernetes accepts, made from the last part of the model's name."""
    words = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower())
    return re.sub(r"^[^a-z]+", "", words)[:NAME_LIMIT].strip("-") or "model"
