"""Runs the program of a stack without engine, cluster, network or credentials, for ``tonnage preview``.

``run_offline`` reads the stack file, runs ``infra.program.main`` under the recording monitor and returns the graph. A
serving stack sees the outputs of its cluster stack's own offline run, so both halves of the contract are exercised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from infra.before_up import Step, cluster_steps, in_order, serving_steps
from infra.config import STACKS_DIR, cluster_stack_file, config_values, settings_from_values, stack_file
from infra.environment import cluster_stack
from infra.provider_outputs import Properties, synthesise
from infra.recording import RecordedResource, Recording, record
from infra.sdk import collector_paused, load_only_what_is_named
from infra.settings.cluster import ClusterSettings
from infra.settings.schema import StackSettings
from infra.settings.serving import ServingSettings
from sizing.catalogue import Catalogue, load_catalogue
from sizing.errors import BadInput
from sizing.plan import StackPlan
from sizing.planning.planner import PlannedStack

__all__ = ["OfflineGraph", "RecordedResource", "run_offline"]


@dataclass(frozen=True, kw_only=True)
class OfflineGraph:
    """Everything that a stack would register, with its settings and, for a serving stack, its plan."""

    stack: str
    settings: StackSettings
    planned: PlannedStack | None
    catalogue: Catalogue
    resources: tuple[RecordedResource, ...]
    outputs: Properties
    component_outputs: Mapping[str, Properties]
    messages: tuple[tuple[str, str], ...]
    """(level, text) of ``pulumi.log`` calls, from ``warning`` upwards."""
    before_up: tuple[Step, ...]
    """What must be settled before ``pulumi up``: of the cluster stack first, where the stack is a serving stack."""

    @property
    def plan(self) -> StackPlan | None:
        """The plan of a serving stack."""
        return self.planned.plan if self.planned else None

    @property
    def urns(self) -> tuple[str, ...]:
        """URNs of all resources, sorted."""
        return tuple(resource.urn for resource in self.resources)


def run_offline(
    stack: str, *, stacks_dir: Path = STACKS_DIR, preview: bool = False, catalogue: Catalogue | None = None
) -> OfflineGraph:
    """Run the program of ``stack``; with ``preview`` computed outputs are unknown, as in a first real preview.

    ``catalogue`` has the facts and prices, by default those of this repository.

    Raises BadInput (no such stack, bad settings, cluster stack missing), NoPlan or OverBudget.
    """
    path = stack_file(stack, stacks_dir)
    values = config_values(path)
    with collector_paused():
        settings, known = _settings(values, path), catalogue or load_catalogue()
        return _run(stack, values, settings, stacks_dir, preview=preview, catalogue=known)


def _settings(values: Mapping[str, str], path: Path) -> StackSettings:
    return settings_from_values(values, where="/".join(path.parts[-2:]), folder=path.parent)


def _run(
    stack: str, values: Mapping[str, str], settings: StackSettings, stacks_dir: Path, *, preview: bool,
    catalogue: Catalogue,
) -> OfflineGraph:  # fmt: skip
    load_only_what_is_named()
    from infra.program import main, planned_for  # noqa: PLC0415 (bad settings are refused before the SDK)

    planned = None
    cluster: Properties = {}
    if isinstance(settings, ServingSettings):
        planned = planned_for(settings, stack, catalogue)
        below = cluster_stack(settings, stack)
        founded, cluster = _cluster(below, settings, stacks_dir)
        own = serving_steps(stack, settings, planned.plan, catalogue)
        steps = in_order((*cluster_steps(below, founded), *own))
    else:
        steps = cluster_steps(stack, settings)
    program = partial(main, stacks_dir, catalogue, offline=True)
    recording = _record(stack, values, settings, cluster, preview=preview, main=program)
    return OfflineGraph(
        stack=stack,
        settings=settings,
        planned=planned,
        catalogue=catalogue,
        resources=recording.resources,
        outputs=recording.outputs,
        component_outputs=recording.component_outputs,
        messages=recording.messages,
        before_up=steps,
    )


def _cluster(stack: str, settings: ServingSettings, stacks_dir: Path) -> tuple[ClusterSettings, Properties]:
    """Return settings and exports of the cluster stack; BadInput when it is missing or does not suit."""
    path = cluster_stack_file(stack, stacks_dir)
    values = config_values(path)
    cluster = _settings(values, path)
    if not isinstance(cluster, ClusterSettings):
        raise BadInput(f"cluster stack {stack}", "is not of the layer cluster", way_out="set tonnage:clusterStack")
    if cluster.region != settings.region:
        raise BadInput("aws:region", f"{settings.region}, but {stack} is in {cluster.region}")
    return cluster, _exports(stack, tuple(sorted(values.items())), cluster)


@lru_cache(maxsize=4)
def _exports(stack: str, values: tuple[tuple[str, str], ...], settings: ClusterSettings) -> Properties:
    """Return the exports of a cluster stack, which depend on its configuration alone."""
    from infra.program import main  # noqa: PLC0415

    return _record(stack, dict(values), settings, {}, preview=False, main=partial(main, offline=True)).outputs


def _record(
    stack: str,
    values: Mapping[str, str],
    settings: StackSettings,
    cluster: Properties,
    *,
    preview: bool,
    main: Callable[[], None],
) -> Recording:
    def answer(token: str, name: str, inputs: Mapping[str, object]) -> Properties:
        if token == "pulumi:pulumi:StackReference":  # noqa: S105 (a resource type)
            return {**inputs, "outputs": cluster, "secretOutputNames": []}
        return synthesise(token, name, inputs, settings.region)

    return record(main, stack=stack, config=values, answer=answer, preview=preview)
