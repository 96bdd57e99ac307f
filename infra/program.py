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

from infra.config import STACKS_DIR, settings_from_pulumi
from infra.layers.cluster import compose_cluster
from infra.layers.serving import compose_serving
from infra.outputs import from_reference
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


def main(stacks_dir: Path = STACKS_DIR, catalogue: Catalogue | None = None) -> None:
    """Read the settings of the running stack and compose its layer; input errors end it with one line.

    ``catalogue`` has the facts and prices, by default those of this repository.
    """
    settings = _told(lambda: settings_from_pulumi(stacks_dir))
    if isinstance(settings, ClusterSettings):
        exports = _told(lambda: compose_cluster(settings, pulumi.get_stack()))
        for name, value in sorted(exports.items()):
            pulumi.export(name, value)
        return
    pulumi.run(lambda: _serve(settings, catalogue))


async def _serve(settings: ServingSettings, catalogue: Catalogue | None) -> Exports:
    """Compose the serving layer once the outputs of its cluster are read."""
    try:
        plan = plan_for(settings, pulumi.get_stack(), catalogue)
        outputs = await from_reference(cluster_stack(settings, pulumi.get_stack()))
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


def cluster_stack(settings: ServingSettings, stack: str) -> str:
    """Return the name of the stack that holds the cluster of a serving stack."""
    return settings.cluster_stack or f"{stack}-cluster"


def plan_for(settings: ServingSettings, stack: str, catalogue: Catalogue | None = None) -> StackPlan:
    """Return the plan of a serving stack: pure, the same for every caller."""
    return planned_for(settings, stack, catalogue or load_catalogue()).plan


@lru_cache(maxsize=16)
def planned_for(settings: ServingSettings, stack: str, catalogue: Catalogue) -> PlannedStack:
    """Return the plan with the search of each model, from which a preview takes the alternatives."""
    return planned_stack(plan_request(settings, stack, catalogue), ALTERNATIVES)
