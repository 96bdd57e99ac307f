"""``tonnage size``: memory of one engine on one GPU type."""

from __future__ import annotations

import typer

from cli import options as o
from cli.engine_options import SizedEngineOptions
from cli.option_groups import with_groups


@with_groups
def size(
    *,
    model: o.Model,
    gpu: o.GpuRequired,
    engine: SizedEngineOptions,
    gpu_total_gib: o.GpuTotalGib = None,
    weights_gib: o.WeightsGib = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """Memory of one engine on one GPU type, by term; exit 3 when it does not fit."""
    from cli.adapters.sources import find_draft, find_model
    from cli.output import show
    from cli.render import size as render
    from sizing.catalogue import load_catalogue
    from sizing.memory.document import size_document
    from sizing.memory.size import size_model

    overrides, draft = engine.overrides(), engine.draft_model
    catalogue = load_catalogue()
    sizing = size_model(
        find_model(model, catalogue),
        catalogue.gpu(gpu),
        overrides,
        gpu_total_gib=o.positive("--gpu-total-gib", gpu_total_gib),
        weights_gib=o.positive("--weights-gib", weights_gib),
        draft=None if draft is None else find_draft(draft, engine.speculative_method, catalogue),
    )
    show(size_document(sizing), output_format, text=render.text, markdown=render.markdown)
    if not sizing.memory.fits:
        raise typer.Exit(3)
