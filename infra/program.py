"""The program: settings -> plan -> components -> outputs. One function per layer, composed from data.

``main`` runs under the language host, the Automation API and the offline mocks alike. The serving layer first awaits
the plain outputs of its cluster stack, so that a preview knows all of its resources.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pulumi

from infra.before_up import (
    cluster_steps,
    refuse_foreign_caller,
    refuse_missing_commands,
    refuse_what_stops,
    serving_steps,
)
from infra.config import STACKS_DIR, settings_from_pulumi
from infra.environment import cluster_stack
from infra.layers.cluster import cluster_tags, compose_cluster, warn_of_definitions
from infra.layers.serving import check_growth, compose_serving
from infra.outputs import deployed_outputs, from_reference
from infra.providers import aws_provider, caller_arn
from infra.request import plan_request
from infra.settings.cluster import ClusterSettings
from infra.settings.serving import ServingSettings
from sizing.catalogue import Catalogue, load_catalogue
from sizing.errors import TonnageError
from sizing.plan import StackPlan
from sizing.planning.planner import PlannedStack, planned_stack

__all__ = ["cluster_stack", "compose_cluster", "compose_serving", "main", "plan_for", "planned_for"]

Exports = dict[str, Any]
ALTERNATIVES = 3
"""Alternatives per model in a preview; ``tonnage plan`` shows all."""


def main(stacks_dir: Path = STACKS_DIR, catalogue: Catalogue | None = None, *, offline: bool = False) -> None:
    """Read the settings of the running stack and compose its layer; input errors end it with one line.

    ``catalogue`` has the facts and prices, by default those of this repository. ``offline`` says that no account is
    reached (a preview of this project, a rehearsal): what stops an ``up`` is then listed elsewhere and not refused.
    """
    settings = _told(lambda: settings_from_pulumi(stacks_dir))
    if isinstance(settings, ClusterSettings):
        pulumi.run(lambda: _found(settings, offline=offline))
    else:
        pulumi.run(lambda: _serve(settings, catalogue, offline=offline))


async def _found(settings: ClusterSettings, *, offline: bool) -> Exports:
    """Compose the cluster layer, on an account once its caller is known to get into the cluster."""
    stack = pulumi.get_stack()
    try:
        if not offline:
            refuse_what_stops(cluster_steps(stack, settings))
            refuse_missing_commands()
        warn_of_definitions(await deployed_outputs())
        account = aws_provider(settings.region, cluster_tags(stack))
        if not offline:
            refuse_foreign_caller(await caller_arn(account), settings.admin_role_arns)
        return dict(sorted(compose_cluster(settings, stack, account).items()))
    except TonnageError as error:
        raise _run_error(error) from error


async def _serve(settings: ServingSettings, catalogue: Catalogue | None, *, offline: bool) -> Exports:
    """Compose the serving layer once the outputs of its cluster are read."""
    stack, known = pulumi.get_stack(), catalogue or load_catalogue()
    try:
        plan = plan_for(settings, stack, known)
        if not offline:
            refuse_what_stops(serving_steps(stack, settings, plan, known))
            refuse_missing_commands()
        outputs = await from_reference(cluster_stack(settings, stack))
        check_growth(plan, await deployed_outputs())
        return compose_serving(settings, plan, outputs)
    except TonnageError as error:
        raise _run_error(error) from error


def _told(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except TonnageError as error:
        raise _run_error(error) from error


def _run_error(error: TonnageError) -> pulumi.RunError:
    """Turn a TonnageError into a RunError, which the engine reports without a traceback."""
    return pulumi.RunError(error.line())


def plan_for(settings: ServingSettings, stack: str, catalogue: Catalogue | None = None) -> StackPlan:
    """Return the plan of a serving stack: pure, the same for every caller."""
    return planned_for(settings, stack, catalogue or load_catalogue()).plan


@lru_cache(maxsize=16)
def planned_for(settings: ServingSettings, stack: str, catalogue: Catalogue) -> PlannedStack:
    """Return the plan with the search of each model, from which a preview takes the alternatives."""
    return planned_stack(plan_request(settings, stack, catalogue), ALTERNATIVES)
