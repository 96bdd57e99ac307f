"""One rehearsal from the stack file to the leftover check.

``rehearse`` starts the control plane, brings the cluster stack and the serving stack up with the real engine, scales
as KEDA would, plays a scenario if asked, destroys everything and looks for what is left. However it ends, no process
and no file remains.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client.exceptions import ApiException
from pulumi import automation as auto
from urllib3.exceptions import HTTPError

from infra.config import STACKS_DIR, cluster_stack_file, settings_from_file, settings_from_values, stack_file
from infra.settings.schema import StackSettings
from infra.settings.serving import ServingSettings
from rehearsal.availability import Availability
from rehearsal.clock import Clock
from rehearsal.control_plane.crds import install_crds
from rehearsal.control_plane.objects import ObjectClient
from rehearsal.control_plane.processes import ControlPlane
from rehearsal.engine import Engine, Program, Run, engine
from rehearsal.environment import Environment
from rehearsal.karpenter.controller import Karpenter
from rehearsal.karpenter.offers import CloudMarket, disks_of
from rehearsal.process import Supervisor, marked
from rehearsal.providers.aws import AwsStandIn, Fault
from rehearsal.providers.base import serve
from rehearsal.providers.kubernetes import KubernetesStandIn
from rehearsal.report import RehearsalReport
from rehearsal.scenarios import scenario_named
from rehearsal.tools import Toolbox, ensure_tools
from rehearsal.toolset import Progress
from rehearsal.upgrades import (
    UPGRADES,
    Config,
    Running,
    all_passed,
    engine_version,
    grown_in_place,
    lost_as_planned,
    shrink_refused,
)
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, TonnageError
from sizing.plan import StackPlan

PACK = Path(__file__).resolve().parent.parent / "policies"


@dataclass(frozen=True, kw_only=True)
class RehearsalPlan:
    """What is rehearsed: the stacks in order of deployment, their files, the plan of the last one."""

    stack: str
    stacks: tuple[str, ...]
    files: Mapping[str, Path]
    settings: StackSettings
    plan: StackPlan | None
    scenario: str | None
    program: Program
    gpu_limits: Mapping[str, int] = field(default_factory=dict)
    """GPU limits to set on Karpenter pools once the stack is up."""

    def replan(self, config: Mapping[str, Any]) -> StackPlan:
        """Return the plan of the same stack with another configuration."""
        from infra.program import plan_for

        path = self.files[self.stack]
        values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
        settings = settings_from_values(values, where=path.name, folder=path.parent)
        if not isinstance(settings, ServingSettings):
            raise BadInput("--scenario", f"{self.stack} serves no model", way_out="rehearse a serving stack")
        return plan_for(settings, self.stack)


def rehearse(
    stack: str,
    *,
    keep: bool = False,
    scenario: str | None = None,
    gpu_limits: Mapping[str, int] | None = None,
    progress: Progress = lambda _: None,
    planned: Callable[[], None] = lambda: None,
    stacks_dir: Path | None = None,
    fault: Fault | None = None,
    hold: Callable[[Path], None] | None = None,
) -> RehearsalReport:
    """Rehearse ``stack`` (and its cluster stack) and return what was found.

    ``planned`` is called once the stack has a plan, before any tool is built.
    ``keep`` calls ``hold`` with the kubeconfig before the destroy; by default it waits for Ctrl-C.
    ``gpu_limits`` sets the GPU limit of Karpenter pools after ``up``, to see which pod then stays Pending.
    ``fault`` makes the AWS stand-in fail on purpose. Raises BadInput (exit 2) and NoPlan or OverBudget (exit 3) before
    anything is started; what goes wrong afterwards is in the report.
    """
    rehearsal_plan = read_rehearsal_plan(stack, scenario, stacks_dir or STACKS_DIR, gpu_limits or {})
    planned()
    return perform(rehearsal_plan, progress=progress, fault=fault, hold=_holder(hold, progress) if keep else None)


def perform(
    rehearsal_plan: RehearsalPlan,
    *,
    progress: Progress = lambda _: None,
    fault: Fault | None = None,
    hold: Callable[[Path], None] | None = None,
) -> RehearsalReport:
    """Run a rehearsal plan from start to end; what goes wrong is in the report, and nothing is left running."""
    report = RehearsalReport(stack=rehearsal_plan.stack, scenario=rehearsal_plan.scenario, plan=rehearsal_plan.plan)
    clock = Clock(report, progress)
    with clock.stage("tools"):
        toolbox = ensure_tools(progress)
        report.tools = {tool.name: tool.version for tool in toolbox.tools}
    run_dir: Path | None = None
    try:
        with Supervisor() as supervisor:
            run_dir = supervisor.run_dir
            with _named_death(supervisor):
                _Rehearsal(rehearsal_plan, report, clock, toolbox, supervisor, fault=fault).play(hold)
    except (TonnageError, ApiException, HTTPError) as error:
        report.failure = error.line() if isinstance(error, TonnageError) else f"API server: {_short(error)}"
    if run_dir is not None:
        report.leftovers += [f"process {one}" for one in marked(run_dir)]
        report.leftovers += [f"folder {run_dir.name}"] if run_dir.exists() else []
    return report


@contextmanager
def _named_death(supervisor: Supervisor) -> Iterator[None]:
    """When the API server no longer answers, raise the error of the process that died."""
    try:
        yield
    except (ApiException, HTTPError):
        supervisor.check()
        raise


def read_rehearsal_plan(
    stack: str, scenario: str | None, stacks_dir: Path, gpu_limits: Mapping[str, int] | None = None
) -> RehearsalPlan:
    """Read and validate the stack file and that of its cluster stack, and plan; raises before anything is started."""
    from infra.environment import cluster_stack
    from infra.program import main, plan_for

    path, program = stack_file(stack, stacks_dir), partial(main, stacks_dir, offline=True)
    settings = settings_from_file(path)
    if scenario is not None and scenario in UPGRADES:
        for change in UPGRADES[scenario]:
            change(_config(path))
    elif scenario is not None:
        scenario_named(scenario)
    if not isinstance(settings, ServingSettings):
        if scenario is not None:
            raise BadInput("--scenario", f"{stack} serves no model", way_out="rehearse a serving stack")
        if gpu_limits:
            raise BadInput("--gpu-limit", f"{stack} has no GPU pool", way_out="rehearse a serving stack")
        return RehearsalPlan(
            stack=stack, stacks=(stack,), files={stack: path}, settings=settings, plan=None, scenario=None,
            program=program,
        )  # fmt: skip
    below = cluster_stack(settings, stack)
    cluster_path = cluster_stack_file(below, stacks_dir)
    settings_from_file(cluster_path)
    plan = plan_for(settings, stack)
    _refuse_unknown_pools(gpu_limits or {}, plan)
    return RehearsalPlan(
        stack=stack,
        stacks=(below, stack),
        files={below: cluster_path, stack: path},
        settings=settings,
        plan=plan,
        scenario=scenario,
        program=program,
        gpu_limits=dict(gpu_limits or {}),
    )


def _refuse_unknown_pools(gpu_limits: Mapping[str, int], plan: StackPlan) -> None:
    known = sorted(pool.name for pool in plan.pools if pool.kind == "karpenter")
    for pool, limit in sorted(gpu_limits.items()):
        if pool not in known:
            raise BadInput("--gpu-limit", f"{pool!r} is not a Karpenter pool of {plan.stack}", limit=", ".join(known))
        if limit < 0:
            raise BadInput("--gpu-limit", f"{pool}={limit} is negative", way_out="0 stops the pool")


class _Rehearsal:
    """The steps in order; what is live is in ``Environment``."""

    def __init__(
        self,
        rehearsal_plan: RehearsalPlan,
        report: RehearsalReport,
        clock: Clock,
        toolbox: Toolbox,
        supervisor: Supervisor,
        *,
        fault: Fault | None,
    ) -> None:
        self.rehearsal_plan = rehearsal_plan
        self.report = report
        self.clock = clock
        self.toolbox = toolbox
        self.supervisor = supervisor
        self.fault = fault

    def play(self, hold: Callable[[Path], None] | None) -> None:
        """Start everything, run the rehearsal plan, look for leftovers."""
        with ExitStack() as stack:
            environment = self._start(stack)
            made: list[auto.Stack] = []
            try:
                self._act(environment, made, hold)
            except TonnageError:
                environment.note_placements("failure", self.report)
                raise
            finally:
                self._collect(environment)
            self._destroy(environment, made)

    def _start(self, stack: ExitStack) -> Environment:
        """Bring up the control plane, the stand-ins and the engine; ``stack`` takes them down again."""
        progress = self.clock.progress
        with self.clock.stage("control plane"):
            plane = stack.enter_context(ControlPlane(self.toolbox, self.supervisor, progress))
            client = ObjectClient(plane.api())
            built_in = client.kinds()
            install_crds(plane.api(), self.toolbox)
        market = CloudMarket(
            catalogue=load_catalogue(),
            region=self.rehearsal_plan.settings.region,
            disks_gib=disks_of(self.rehearsal_plan.plan),
        )
        with self.clock.stage("karpenter"):
            karpenter = stack.enter_context(
                Karpenter(self.toolbox.karpenter_kwok, plane.kubeconfig, self.supervisor, plane.api(), market)
            )
        environment = Environment(
            plane=plane,
            client=client,
            karpenter=karpenter,
            built_in=built_in,
        )
        environment.aws = AwsStandIn(
            created=environment.cloud_created, deleted=environment.cloud_deleted, fault=self.fault
        )
        environment.kubernetes = KubernetesStandIn(
            ObjectClient(plane.api()), unschedulable=karpenter.unschedulable, before_apply=environment.ensure_kind
        )
        stack.callback(environment.kubernetes.stopped.set)
        ports = {one.name: stack.enter_context(serve(one)) for one in (environment.aws, environment.kubernetes)}
        environment.engine = stack.enter_context(engine(self.toolbox, self.supervisor, ports, [PACK], progress))
        environment.baseline = environment.everything()
        return environment

    def _act(self, environment: Environment, made: list[auto.Stack], hold: Callable[[Path], None] | None) -> None:
        for name in self.rehearsal_plan.stacks:
            with self.clock.stage(f"up {name}"):
                made.append(
                    _stack(environment.engine, name, self.rehearsal_plan.files[name], self.rehearsal_plan.program)
                )
                run = environment.engine.up(made[-1])
                self.report.resources[name] = sum(run.changes.values())
                self.report.policies += environment.verdicts(name, run)
                self.clock.note(f"up {name}", f"{run.changed} resources")
        for pool, limit in sorted(self.rehearsal_plan.gpu_limits.items()):
            environment.cut(pool, limit)
            self.clock.progress(f"GPU limit of pool {pool} cut to {limit} by hand")
        if self.rehearsal_plan.plan is not None:
            environment.check_plan(self.rehearsal_plan.plan, self.report, self.clock)
        for made_stack in made:
            self._second_up(environment, made_stack)
        if self.rehearsal_plan.plan is not None and self.rehearsal_plan.scenario is not None:
            with self.clock.stage(f"scenario {self.rehearsal_plan.scenario}"):
                self._play(environment, self.rehearsal_plan.scenario, self.rehearsal_plan.plan)
        if hold is not None:
            hold(environment.plane.kubeconfig)

    def _play(self, environment: Environment, scenario: str, plan: StackPlan) -> None:
        if scenario not in UPGRADES:
            environment.play(scenario, plan, self.report, self.clock)
            return
        config = _config(self.rehearsal_plan.files[self.rehearsal_plan.stack])
        for change in UPGRADES[scenario]:
            after = change(config)
            if change is engine_version:
                self._replace_pods(environment, after, plan)
            else:
                self._grow_store(environment, config, after)
            config = after

    def _replace_pods(self, environment: Environment, after: Config, plan: StackPlan) -> None:
        """Deploy a change that replaces every replica, and compare what was missing meanwhile with the preview."""
        wanted = environment.at_planned_traffic(plan)
        with Availability(environment.plane.api(), wanted) as seen:
            self._deploy(environment, after)
        self.report.checks += lost_as_planned(plan, seen.gaps, seen.least)

    def _grow_store(self, environment: Environment, before: Config, after: Config) -> None:
        """Deploy the stack with more vectors, look at its disks, and see the way back refused."""
        running, plan = Running.of(environment.client), self.rehearsal_plan.replan(after)
        self._deploy(environment, after)
        environment.wait_for(lambda: all_passed(grown_in_place(plan, running, Running.of(environment.client))))
        self.report.checks += grown_in_place(plan, running, Running.of(environment.client))
        try:
            self._deploy(environment, before)
        except TonnageError as refused:  # the program refuses, the engine reports it
            self.report.checks.append(shrink_refused(refused.line()))
        else:
            self.report.checks.append(shrink_refused(""))

    def _deploy(self, environment: Environment, config: Config) -> Run:
        stack = environment.engine.stack(self.rehearsal_plan.stack, config, self.rehearsal_plan.program)
        return environment.engine.up(stack)

    def _second_up(self, environment: Environment, stack: auto.Stack) -> None:
        with self.clock.stage(f"second up {stack.name}"):
            run: Run = environment.engine.up(stack)
            self.report.second_up[stack.name] = run.changed
            self.report.checks.append(environment.unchanged(stack.name, run))

    def _collect(self, environment: Environment) -> None:
        """Copy what the API server refused, dropped or could not validate into the report."""
        self.report.refused = environment.findings("refused")
        self.report.dropped = environment.findings("dropped")
        self.report.not_validated = environment.not_validated()
        self.report.checks += environment.finding_checks()

    def _destroy(self, environment: Environment, made: list[auto.Stack]) -> None:
        for stack in reversed(made):
            with self.clock.stage(f"destroy {stack.name}"):
                environment.engine.unprotect(stack)
                run = environment.engine.destroy(stack)
                self.clock.note(f"destroy {stack.name}", f"{run.changed} resources")
        with self.clock.stage("leftovers"):
            self.report.leftovers += environment.leftovers()
            self.report.kept = environment.kept()
            kept = f", {len(self.report.kept)} volumes kept on purpose (Retain)" if self.report.kept else ""
            self.clock.note("leftovers", f"{len(self.report.leftovers)}{kept}")


def _config(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["config"])


def _stack(runner: Engine, name: str, path: Path, program: Program) -> auto.Stack:
    return runner.stack(name, _config(path), program)


def _holder(hold: Callable[[Path], None] | None, progress: Progress) -> Callable[[Path], None]:
    def until_interrupted(kubeconfig: Path) -> None:
        progress(f"kept up: export KUBECONFIG={kubeconfig}")
        progress(f"destroys and ends on Ctrl-C (or kill -INT {os.getpid()})")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            progress("ending")

    return hold or until_interrupted


def _short(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", "") or error).split())[:300]


__all__ = ["Fault", "RehearsalReport", "read_rehearsal_plan", "rehearse"]
