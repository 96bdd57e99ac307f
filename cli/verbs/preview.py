"""``tonnage preview``: plan, resources, bill and policy verdicts of a stack, offline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import options as o

if TYPE_CHECKING:
    from infra.offline import OfflineGraph

EARLIER_LIMIT_BYTES = 64 * 2**20


def preview(
    stack: o.Stack,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="Earlier --format json: say what changed.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a self-contained page with plots.")
    ] = None,
    output_format: o.FormatOption = o.Format.TEXT,
) -> None:
    """Offline: what a stack deploys, on which GPUs, why, for how much; exit 3 when a policy is violated."""
    from datetime import UTC, datetime

    from cli.adapters.files import read_json_object
    from cli.adapters.stacks import stacks_dir
    from cli.output import show, tell, write_file
    from cli.render import preview as render
    from sizing.catalogue.staleness import stale_prices

    earlier = read_json_object(against, "--against", limit_bytes=EARLIER_LIMIT_BYTES) if against else None
    document = preview_document(stack, stacks_dir())
    if earlier is not None:
        from infra.difference import compare

        document["difference"] = compare(earlier, document)
    if html:
        from cli.render import page

        write_file(html, page.html(document), "--html")
    for line in stale_prices(datetime.now(UTC).date()):
        tell(line)
    show(document, output_format, text=render.text, markdown=render.markdown)
    if any(verdict["level"] == "mandatory" and not verdict["passed"] for verdict in document["policies"]):
        raise typer.Exit(3)


def preview_document(stack: str, folder: Path) -> dict[str, Any]:
    """Return the preview of ``stack``: its program run under mocks, judged by the policies."""
    from infra.sdk import collector_paused

    with collector_paused():
        from infra.offline import run_offline
        from infra.preview import build_preview

        graph = run_offline(stack, stacks_dir=folder)
    return build_preview(stack, graph, _verdicts(graph))


def _verdicts(graph: OfflineGraph) -> list[dict[str, Any]]:
    from policies.graph import Resource
    from policies.registry import judge

    judged = judge(Resource(type=r.type, name=r.name, urn=r.urn, props=r.props) for r in graph.resources)
    return [verdict.to_document() for verdict in judged]
