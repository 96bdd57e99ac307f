"""``tonnage leftovers``: what a destroyed stack left in the account."""

from __future__ import annotations

import typer

from cli import options as o


def leftovers(stack: o.Stack, output_format: o.FormatOption = o.Format.TEXT) -> None:
    """List what carries the tags of a stack, volumes and load balancers of its controllers included; removes nothing.

    For after `pulumi destroy`: exit 0 when nothing is left, 3 when something is. The index of tags lags by minutes.
    """
    from cli.adapters.aws import clients
    from cli.adapters.stacks import stacks_dir
    from cli.adapters.sweep import leftovers as found_of
    from cli.output import show
    from cli.render import leftovers as render
    from infra.config import settings_from_file, stack_file
    from infra.sweep import log_groups, searches

    settings = settings_from_file(stack_file(stack, stacks_dir()))
    found = found_of(searches(stack, settings), log_groups(stack, settings), settings.region, clients())
    document = {"stack": stack, "region": settings.region, "left": found}
    show(document, output_format, text=render.text, markdown=render.markdown)
    if found:
        raise typer.Exit(3)
