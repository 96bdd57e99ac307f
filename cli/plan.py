"""``tonnage plan``: the cheapest way to serve one model, the next best, and why each other option lost."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options as o

if TYPE_CHECKING:
    from sizing.catalogue import Catalogue
    from sizing.inputs import Capacity, ModelEntry
    from sizing.models.spec import ModelSpec
    from sizing.workload.workload import Workload

NAME_LIMIT = 40
HOURS_PER_DAY = 24

Ttft = Annotated[float | None, typer.Option("--ttft-p95-ms", metavar="MS", help="Objective: time to first token.")]
Tpot = Annotated[float | None, typer.Option("--tpot-p95-ms", metavar="MS", help="Objective: time per output token.")]
Region = Annotated[str, typer.Option("--region", metavar="REGION", help="AWS region.")]
Gpus = Annotated[
    list[str] | None, typer.Option("--gpu", metavar="GPU", help="Only this GPU type; may be repeated. Default: any.")
]
MaxMonthlyUsd = Annotated[
    float | None, typer.Option("--max-monthly-usd", metavar="USD", help="The ceiling may not cost more a month.")
]
SpotShare = Annotated[
    float | None, typer.Option("--spot-share", metavar="X", help="Share of nodes above the floor on spot, rounded up.")
]
Zones = Annotated[int | None, typer.Option("--zones", metavar="N", help="Availability zones used. Default: 2.")]
Quotas = Annotated[
    list[str] | None,
    typer.Option("--quota", metavar="CODE=VCPUS", help="vCPU quota that bounds the fleet; may be repeated."),
]
PeakFactor = Annotated[
    float | None, typer.Option("--peak-factor", metavar="X", help="Ceiling of traffic over the rate. Default: 1.5.")
]
MinimumShare = Annotated[
    float | None, typer.Option("--minimum-share", metavar="X", help="Quietest hour over the busiest. Default: 0.2.")
]
DailyShape = Annotated[
    str | None, typer.Option("--daily-shape", metavar="X,X,...", help="24 shares of the rate by hour UTC, largest 1.")
]
PrefixShare = Annotated[
    float | None, typer.Option("--prefix-share", metavar="X", help="Share of prompt tokens found in the cache.")
]
BatchShare = Annotated[
    float | None, typer.Option("--batch-share", metavar="X", help="Share of requests without objectives.")
]
Burstiness = Annotated[
    float | None, typer.Option("--burstiness", metavar="X", help="1 is Poisson, below burstier (vllm bench serve).")
]
InputTokensP95 = Annotated[
    int | None, typer.Option("--input-tokens-p95", metavar="N", help="95th percentile of prompt tokens.")
]
OutputTokensP95 = Annotated[
    int | None, typer.Option("--output-tokens-p95", metavar="N", help="95th percentile of generated tokens.")
]
LossTolerance = Annotated[
    str | None,
    typer.Option("--loss-tolerance", metavar="none|replica|zone", help="What may be lost without missing objectives."),
]
ScaleToZero = Annotated[bool, typer.Option("--scale-to-zero", help="No replica while there is no traffic.")]
MinReplicas = Annotated[int | None, typer.Option("--min-replicas", metavar="N", help="Fewest replicas, as fixed.")]
MaxReplicas = Annotated[int | None, typer.Option("--max-replicas", metavar="N", help="Most replicas, as fixed.")]
Variants = Annotated[
    list[str] | None,
    typer.Option("--allowed-variant", metavar="MODEL", help="Another checkpoint that may serve it; may be repeated."),
]
Fp8Cache = Annotated[bool, typer.Option("--allow-fp8-kv-cache", help="The KV cache may be kept in FP8.")]
Top = Annotated[int, typer.Option("--top", metavar="N", min=0, max=100, help="Alternatives shown.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Also write a self-contained page with plots.")
]


def plan(
    *,
    model: o.Model,
    requests_per_second: o.RequestsPerSecondOptional = None,
    input_tokens: o.InputTokensOptional = None,
    output_tokens: o.OutputTokensOptional = None,
    trace: o.Trace = None,
    ttft_p95_ms: Ttft = None,
    tpot_p95_ms: Tpot = None,
    region: Region = "us-east-1",
    gpu: Gpus = None,
    max_monthly_usd: MaxMonthlyUsd = None,
    spot_share: SpotShare = None,
    zones: Zones = None,
    quota: Quotas = None,
    peak_factor: PeakFactor = None,
    minimum_share: MinimumShare = None,
    daily_shape: DailyShape = None,
    prefix_share: PrefixShare = None,
    batch_share: BatchShare = None,
    burstiness: Burstiness = None,
    input_tokens_p95: InputTokensP95 = None,
    output_tokens_p95: OutputTokensP95 = None,
    loss_tolerance: LossTolerance = None,
    scale_to_zero: ScaleToZero = False,
    min_replicas: MinReplicas = None,
    max_replicas: MaxReplicas = None,
    allowed_variant: Variants = None,
    allow_fp8_kv_cache: Fp8Cache = False,
    tensor_parallel: o.TensorParallel = None,
    pipeline_parallel: o.PipelineParallel = None,
    max_model_len: o.MaxModelLen = None,
    max_num_seqs: o.MaxNumSeqs = None,
    max_num_batched_tokens: o.MaxNumBatchedTokens = None,
    gpu_memory_utilization: o.GpuMemoryUtilization = None,
    kv_cache_dtype: o.KvCacheDtypeOption = None,
    vllm_version: o.VllmVersion = None,
    enforce_eager: o.EnforceEager = False,
    max_loras: o.MaxLoras = None,
    max_lora_rank: o.MaxLoraRank = None,
    speculative_method: o.SpeculativeMethodOption = None,
    num_speculative_tokens: o.NumSpeculativeTokens = None,
    speculative_acceptance: o.SpeculativeAcceptance = None,
    top: Top = 5,
    html: Html = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """The cheapest plan that meets the objectives, alternatives, and why the others lost; exit 3 when there is none."""
    _plan(locals())


def _plan(given: Mapping[str, Any]) -> None:
    from datetime import UTC, datetime

    from cli.output import show, tell
    from cli.render import plan as render
    from cli.sources import find_model
    from sizing.catalogue import load_catalogue
    from sizing.catalogue.staleness import stale_prices
    from sizing.planning.document import plan_document
    from sizing.planning.planner import plan_model

    catalogue = load_catalogue()
    spec, region = find_model(given["model"], catalogue), given["region"]
    entry, capacity = _entry(spec, given), _capacity(given, catalogue)
    catalogue = catalogue.with_model(spec)
    limit = o.positive("--max-monthly-usd", given["max_monthly_usd"])
    result = plan_model(entry, capacity, region, catalogue, max_monthly_usd=limit, top=given["top"])
    document = plan_document(result, entry, region, catalogue.date, catalogue)
    if given["html"]:
        _write_page(given["html"], document, (result, entry, capacity, region, catalogue), limit)
    for line in stale_prices(datetime.now(UTC).date()):
        tell(line)
    show(document, given["output_format"], text=render.text, markdown=render.markdown)


def _entry(spec: ModelSpec, given: Mapping[str, Any]) -> ModelEntry:
    """Return what is served, as the entry of a stack file would state it."""
    from sizing.inputs import ModelEntry, ReplicaBounds
    from sizing.workload.workload import Objectives

    bounds = {"floor": given["min_replicas"], "ceiling": given["max_replicas"]}
    return o.stated(
        ModelEntry,
        {
            "name": service_name(spec.name),
            "model": spec.name,
            "workload": _workload(given),
            "objectives": o.stated(Objectives, {key: given[key] for key in ("ttft_p95_ms", "tpot_p95_ms")}),
            "replicas": o.stated(ReplicaBounds, bounds, {"floor": "--min-replicas", "ceiling": "--max-replicas"}),
            "loss_tolerance": given["loss_tolerance"],
            "scale_to_zero": given["scale_to_zero"],
            "allowed_variants": given["allowed_variant"] or None,
            "allow_fp8_kv_cache": given["allow_fp8_kv_cache"],
            "engine": o.engine_of(given),
        },
        {"allowed_variants": "--allowed-variant"},
    )


def _capacity(given: Mapping[str, Any], catalogue: Catalogue) -> Capacity:
    from sizing.inputs import Capacity

    stated = {
        "spot_share": given["spot_share"],
        "zones": given["zones"],
        "gpus": tuple(catalogue.gpu(name).name for name in given["gpu"] or ()) or None,
        "quotas": tuple(_quota(text) for text in given["quota"] or ()),
    }
    return o.stated(Capacity, stated, {"quotas": "--quota"})


def _quota(text: str) -> dict[str, Any]:
    from sizing.errors import BadInput

    code, _, vcpus = text.partition("=")
    if not vcpus.strip().isdecimal():
        raise BadInput("--quota", f"{text[:80]!r} is no quota", way_out="write CODE=VCPUS, for example L-DB2E81BA=64")
    return {"code": code.strip(), "vcpus": int(vcpus[:20])}


def _workload(given: Mapping[str, Any]) -> Workload:
    """Return the workload that options and trace tell; BadInput for a figure that neither does."""
    from sizing.errors import BadInput
    from sizing.workload.workload import Workload

    told = {o.key_of(key): given[key] for key in Workload.model_fields if given.get(key) is not None}
    if given["daily_shape"] is not None:
        told["dailyShape"] = _shares(given["daily_shape"])
    if given["trace"] is not None:
        from infra.traces import told_by_trace

        return o.stated(Workload, told_by_trace(told, Path.cwd(), "--trace"))
    for key in ("requests_per_second", "input_tokens", "output_tokens"):
        if given[key] is None:
            raise BadInput(o.option_of(key), "missing", way_out="state it, or --trace FILE that tells it")
    return o.stated(Workload, told)


def _shares(text: str) -> tuple[float, ...]:
    from sizing.errors import BadInput

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        problem = f"{text[:80]!r} is no list of numbers"
        raise BadInput("--daily-shape", problem, way_out=f"write {HOURS_PER_DAY} numbers with commas") from None


def _write_page(html: Path, document: Mapping[str, Any], planned: tuple[Any, ...], limit: float | None) -> None:
    """Study the plan around its workload and write the page with plots."""
    from cli.output import tell, write_file
    from cli.render import plan_page
    from sizing.planning.sensitivity import study_plan

    study = study_plan(*planned, max_monthly_usd=limit, progress=tell)
    write_file(html, plan_page.html(document, study), "--html")


def service_name(model: str) -> str:
    """Return a name that Kubernetes accepts, made from the last part of the model's name."""
    words = re.sub(r"[^a-z0-9]+", "-", model.rpartition("/")[2].lower())
    return re.sub(r"^[^a-z]+", "", words)[:NAME_LIMIT].strip("-") or "model"
