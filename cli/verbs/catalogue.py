"""``tonnage catalogue``: what is known, with source and date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import options as o

app = typer.Typer(help="What is known about GPUs, instances, prices and models.", rich_markup_mode=None)


@app.command("show")
def show_catalogue(
    region: Annotated[str, typer.Option("--region", metavar="REGION", help="Region of the prices.")] = "us-east-1",
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """GPUs, instance types with prices in one region, and models; each with its source and date."""
    from cli.output import show
    from cli.render import catalogue as render
    from sizing.catalogue import load_catalogue
    from sizing.catalogue.document import catalogue_document

    document = catalogue_document(load_catalogue(), region)
    show(document, output_format, text=render.text, markdown=render.markdown)


@app.command("refresh")
def refresh_catalogue(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Write there. Default: the catalogue itself.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change and write nothing.")] = False,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """Read prices, zones and instance facts anew from AWS (read-only calls) and say what changed; all or nothing."""
    from datetime import UTC, datetime

    from cli.adapters.aws import clients, read_answers
    from cli.output import show, tell, write_files
    from cli.render import refresh as render
    from sizing.catalogue.catalogue import HERE
    from sizing.catalogue.refresh import ROWS, dump, refresh_document, refreshed

    folder, before = _folder(out or HERE), _documents(tuple(ROWS))
    types = [row["instance_type"] for row in before["instances"]["instances"]]
    answers = read_answers(types, list(before["instances"]["zone_ids"]), clients(), tell)
    after = refreshed(before, answers, datetime.now(UTC).date().isoformat())
    files = {folder / f"{name}.json": dump(after[name], rows) for name, rows in ROWS.items()}
    if not dry_run:
        write_files(files, "--out")
    written = () if dry_run else tuple(str(path) for path in files)
    document = refresh_document(before, after, written)
    show(document, output_format, text=render.text, markdown=render.markdown)


def _folder(path: Path) -> Path:
    """Return the folder to write to; BadInput before anything is asked where it is none."""
    from sizing.errors import BadInput

    if not path.is_dir():
        raise BadInput("--out", f"{path} is not a folder", way_out="make it first")
    return path


def _documents(names: tuple[str, ...]) -> Mapping[str, Any]:
    from sizing.catalogue.files import dated_file

    return {name: dated_file(name) for name in names}
