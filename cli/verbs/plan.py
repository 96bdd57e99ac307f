"""``tonnage plan``: the cheapest plan of one model on one screen; details with ``--explain``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options as o
from cli.engine_options import TimedEngineOptions
from cli.option_groups import OptionGroup, with_groups

if TYPE_CHECKING:
    from sizing.catalogue import Catalogue
    from sizing.inputs import Capacity, ModelEntry
    from sizing.models.spec import ModelSpec
    from sizing.planning.sensitivity import PlanStudy
    from sizing.workload.workload import Workload

NAME_LIMIT = 40
HOURS_PER_DAY = 24

Top = Annotated[int, typer.Option("--top", metavar="N", min=0, max=100, help="Alternatives shown.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Also write a self-contained page with plots.")
]

Explain = Annotated[bool, typer.Option("--explain", help="Everything that the plan says; without it one screen.")]


@dataclass(frozen=True, kw_only=True)
class Question(OptionGroup):
    """What is served, for what traffic and objectives, on which machines."""

    model: o.Model
    requests_per_second: o.RequestsPerSecondOptional = None
    input_tokens: o.InputTokensOptional = None
    output_tokens: o.OutputTokensOptional = None
    trace: o.Trace = None
    ttft_p95_ms: Annotated[
        float | None, typer.Option("--ttft-p95-ms", metavar="MS", help="Objective: time to first token.")
    ] = None
    tpot_p95_ms: Annotated[
        float | None, typer.Option("--tpot-p95-ms", metavar="MS", help="Objective: time per output token.")
    ] = None
    region: Annotated[str, typer.Option("--region", metavar="REGION", help="AWS region.")] = "us-east-1"
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", metavar="GPU", help="Only this GPU type; may be repeated. Default: any."),
    ] = None
    max_monthly_usd: Annotated[
        float | None, typer.Option("--max-monthly-usd", metavar="USD", help="The ceiling may not cost more a month.")
    ] = None
    spot_share: Annotated[
        float | None,
        typer.Option("--spot-share", metavar="X", help="Share of nodes above the floor on spot, rounded up."),
    ] = None
    zones: Annotated[int | None, typer.Option("--zones", metavar="N", help="Availability zones used. Default: 2.")] = (
        None
    )
    quota: Annotated[
        list[str] | None,
        typer.Option("--quota", metavar="CODE=VCPUS", help="vCPU quota that bounds the fleet; may be repeated."),
    ] = None
    peak_factor: Annotated[
        float | None, typer.Option("--peak-factor", metavar="X", help="Ceiling of traffic over the rate. Default: 1.5.")
    ] = None
    minimum_share: Annotated[
        float | None, typer.Option("--minimum-share", metavar="X", help="Quietest hour over the busiest. Default: 0.2.")
    ] = None
    daily_shape: Annotated[
        str | None,
        typer.Option("--daily-shape", metavar="X,X,...", help="24 shares of the rate by hour UTC, largest 1."),
    ] = None
    prefix_share: Annotated[
        float | None, typer.Option("--prefix-share", metavar="X", help="Share of prompt tokens found in the cache.")
    ] = None
    batch_share: Annotated[
        float | None, typer.Option("--batch-share", metavar="X", help="Share of requests without objectives.")
    ] = None
    burstiness: Annotated[
        float | None, typer.Option("--burstiness", metavar="X", help="1 is Poisson, below burstier (vllm bench serve).")
    ] = None
    input_tokens_p95: Annotated[
        int | None, typer.Option("--input-tokens-p95", metavar="N", help="95th percentile of prompt tokens.")
    ] = None
    output_tokens_p95: Annotated[
        int | None, typer.Option("--output-tokens-p95", metavar="N", help="95th percentile of generated tokens.")
    ] = None
    loss_tolerance: Annotated[
        str | None,
        typer.Option(
            "--loss-tolerance", metavar="none|replica|zone", help="What may be lost without missing objectives."
        ),
    ] = None
    scale_to_zero: Annotated[bool, typer.Option("--scale-to-zero", help="No replica while there is no traffic.")] = (
        False
    )
    min_replicas: Annotated[
        int | None, typer.Option("--min-replicas", metavar="N", help="Fewest replicas, as fixed.")
    ] = None
    max_replicas: Annotated[
        int | None, typer.Option("--max-replicas", metavar="N", help="Most replicas, as fixed.")
    ] = None
    allowed_variant: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-variant", metavar="MODEL", help="Another checkpoint that may serve it; may be repeated."
        ),
    ] = None
    allow_fp8_kv_cache: Annotated[
        bool, typer.Option("--allow-fp8-kv-cache", help="The KV cache may be kept in FP8.")
    ] = False


@with_groups
def plan(
    *,
    question: Question,
    engine: TimedEngineOptions,
    top: Top = 5,
    html: Html = None,
    explain: Explain = False,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """The cheapest plan that meets the objectives, alternatives, and why the others lost; exit 3 when there is none."""
    from datetime import UTC, datetime

    from cli.adapters.sources import find_model
    from cli.output import show, tell
    from cli.render import plan as everything
    from cli.render import plan_screen
    from sizing.catalogue import load_catalogue
    from sizing.catalogue.staleness import stale_prices
    from sizing.cost.spot_interruptions import spot_warnings
    from sizing.planning.document import plan_document
    from sizing.planning.explanation import warnings_of
    from sizing.planning.planner import plan_model
    from sizing.planning.savings import what_saves
    from sizing.planning.search.options import Market
    from sizing.planning.sensitivity import study_plan

    catalogue = load_catalogue()
    spec, region = find_model(question.model, catalogue), question.region
    entry, capacity = _entry(spec, question, engine), _capacity(question, catalogue)
    catalogue = catalogue.with_model(spec)
    market = Market(capacity=capacity, region=region, catalogue=catalogue)
    if not (explain or html or output_format is o.Format.JSON):
        top = min(top, plan_screen.ALTERNATIVES)
    limit = o.positive("--max-monthly-usd", question.max_monthly_usd)
    result = plan_model(entry, market, max_monthly_usd=limit, top=top)
    document = plan_document(result, entry, region, catalogue.date, catalogue)
    if html is not None:
        study = study_plan(result, entry, market, max_monthly_usd=limit, progress=tell)
        _write_page(html, document, study)
    for line in stale_prices(datetime.now(UTC).date()):
        tell(line)

    def notes() -> everything.Notes:  # only for text and Markdown
        return everything.Notes(
            cheaper=what_saves(result.chosen, entry, market, max_monthly_usd=limit),
            warnings=(*warnings_of(entry, result.chosen), *spot_warnings(result.chosen, result.pools)),
        )

    render = everything if explain else plan_screen
    show(
        document,
        output_format,
        text=lambda document: render.text(document, notes()),
        markdown=lambda document: render.markdown(document, notes()),
    )


def _entry(spec: ModelSpec, question: Question, engine: TimedEngineOptions) -> ModelEntry:
    """Return the options as an entry of a stack file."""
    from sizing.inputs import ModelEntry, ReplicaBounds
    from sizing.workload.workload import Objectives

    objectives = {"ttft_p95_ms": question.ttft_p95_ms, "tpot_p95_ms": question.tpot_p95_ms}
    bounds = {"floor": question.min_replicas, "ceiling": question.max_replicas}
    return o.validated(
        ModelEntry,
        {
            "name": service_name(spec.name),
            "model": spec.name,
            "workload": _workload(question),
            "objectives": o.validated(Objectives, objectives),
            "replicas": o.validated(ReplicaBounds, bounds, {"floor": "--min-replicas", "ceiling": "--max-replicas"}),
            "loss_tolerance": question.loss_tolerance,
            "scale_to_zero": question.scale_to_zero,
            "allowed_variants": question.allowed_variant or None,
            "allow_fp8_kv_cache": question.allow_fp8_kv_cache,
            "engine": engine.overrides(),
        },
        {"allowed_variants": "--allowed-variant"},
    )


def _capacity(question: Question, catalogue: Catalogue) -> Capacity:
    from sizing.inputs import Capacity

    declared = {
        "spot_share": question.spot_share,
        "zones": question.zones,
        "gpus": tuple(catalogue.gpu(name).name for name in question.gpu or ()) or None,
        "quotas": tuple(_quota(text) for text in question.quota or ()),
    }
    return o.validated(Capacity, declared, {"quotas": "--quota"})


def _quota(text: str) -> dict[str, str | int]:
    from sizing.errors import BadInput

    code, _, vcpus = text.partition("=")
    if not vcpus.strip().isdecimal():
        raise BadInput("--quota", f"{text[:80]!r} is no quota", way_out="write CODE=VCPUS, for example L-DB2E81BA=64")
    return {"code": code.strip(), "vcpus": int(vcpus[:20])}


def _workload(question: Question) -> Workload:
    """Return the workload of options and trace; BadInput for a figure that neither gives."""
    from sizing.errors import BadInput
    from sizing.workload.workload import Workload

    given = {o.key_of(name): value for name, value in question.given().items() if name in Workload.model_fields}
    if question.daily_shape is not None:
        given["dailyShape"] = _shares(question.daily_shape)
    if question.trace is not None:
        from infra.traces import with_trace_figures

        return o.validated(Workload, with_trace_figures(given, Path.cwd(), "--trace"))
    for key in ("requestsPerSecond", "inputTokens", "outputTokens"):
        if key not in given:
            raise BadInput(o.option_of(key), "missing", way_out="state it, or --trace FILE that tells it")
    return o.validated(Workload, given)


def _shares(text: str) -> tuple[float, ...]:
    from sizing.errors import BadInput

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        problem = f"{text[:80]!r} is no list of numbers"
        raise BadInput("--daily-shape", problem, way_out=f"write {HOURS_PER_DAY} numbers with commas") from None


def _write_page(html: Path, document: Mapping[str, Any], study: PlanStudy) -> None:
    """Write the page with plots."""
    from cli.output import write_file
    from cli.render import plan_page

    write_file(html, plan_page.html(document, study), "--html")


def service_name(model: str) -> str:
    """Return a name that Kubernetes accepts, made from the last part of the model's name."""
    words = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower())
    return re.sub(r"^[^a-z]+", "", words)[:NAME_LIMIT].strip("-") or "model"
