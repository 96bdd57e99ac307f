"""``tonnage catalogue``: what is known, with source and date."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import options as o

app = typer.Typer(help="What is known about GPUs, instances, prices and models.", rich_markup_mode=None)


@app.callback()
def root() -> None:
    """Keep ``show`` a verb of its own."""


root.__doc__ = "What is known about GPUs, instances, prices and models."


@app.command("show")
def show_catalogue(
    region: Annotated[str, typer.Option("--region", metavar="REGION", help="Region of the prices.")] = "us-east-1",
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """GPUs, instance types with prices in one region, and models; each with its source and date."""
    from cli.output import show
    from cli.render import catalogue as render
    from sizing.catalogue import load_catalogue
    from sizing.catalogue_document import catalogue_document

    document = catalogue_document(load_catalogue(), region)
    show(document, output_format, text=render.text, markdown=render.markdown)
