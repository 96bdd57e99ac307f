"""``tonnage throughput``: predicted speed of one replica."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import options as o
from cli.engine_options import TimedEngineOptions
from cli.option_groups import with_groups

MOST_CONCURRENCY = 1e6


@with_groups
def throughput(
    *,
    model: o.Model,
    gpu: o.GpuRequired,
    concurrency: Annotated[float, typer.Option("--concurrency", metavar="C", help="Requests in flight.")],
    input_tokens: o.InputTokens,
    output_tokens: o.OutputTokens,
    engine: TimedEngineOptions,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """Predicted TTFT, TPOT and tokens per second of one replica, with p10 and p90."""
    from cli.adapters.sources import find_model
    from cli.output import show
    from cli.render import throughput as render
    from sizing.catalogue import load_catalogue
    from sizing.memory.size import size_model
    from sizing.performance.document import throughput_document
    from sizing.performance.features import check_speculation
    from sizing.performance.prediction import predict_throughput

    overrides = engine.overrides()
    check_speculation(overrides, "")
    catalogue = load_catalogue()
    sizing = size_model(find_model(model, catalogue), catalogue.gpu(gpu), overrides)
    if not sizing.memory.fits:
        raise o.does_not_fit(sizing)
    estimate = predict_throughput(
        sizing.model,
        sizing.gpu,
        sizing.engine,
        sizing.memory,
        concurrency=o.positive("--concurrency", concurrency, MOST_CONCURRENCY),
        input_tokens=o.positive("--input-tokens", input_tokens),
        output_tokens=o.positive("--output-tokens", output_tokens),
    )
    document = throughput_document(
        estimate,
        model=sizing.model.name,
        gpu=sizing.gpu.name,
        engine=sizing.engine,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
    show(document, output_format, text=render.text, markdown=render.markdown)
