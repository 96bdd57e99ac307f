"""The real Pulumi engine, with everything that it writes inside the run folder.

The Automation API runs the program inline, in this process; the engine itself is the pinned binary. Its state is a
file backend, its home and temporary files are in the run folder, its passphrase is random and never stored.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pulumi import RunError
from pulumi import automation as auto
from pulumi.automation.errors import CommandError

from rehearsal.errors import RehearsalFailed
from rehearsal.process import Supervisor
from rehearsal.tools import Toolbox
from rehearsal.toolset import Progress
from sizing.errors import TonnageError

PROJECT = "tonnage"
ROOT = Path(__file__).resolve().parent.parent
Program = Callable[[], Awaitable[None] | None]
UNCHANGED = "same"
GONE = ("Cancelling all calls", "transport is closing", "connection refused", "error reading from server: EOF")
"""How gRPC reports a provider that died."""


@dataclass(kw_only=True)
class Run:
    """What the engine did in one update: operations by kind, policy violations, error lines."""

    changes: Mapping[str, int] = field(default_factory=dict)
    policies: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    """Names of the policy packs that ran."""
    errors: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """Resources that were created, changed, replaced or deleted."""
        return sum(count for kind, count in self.changes.items() if kind not in {UNCHANGED, "read"})


class Engine:
    """Runs programs as stacks of one temporary file backend; made by ``engine``."""

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        command: auto.PulumiCommand,
        env: Mapping[str, str],
        packs: Sequence[Path],
        progress: Progress,
    ) -> None:
        self._supervisor = supervisor
        self._command = command
        self._env = dict(env)
        self._packs = [str(pack.resolve()) for pack in packs]
        self._progress = progress
        self._program_error: TonnageError | None = None

    def stack(self, name: str, config: Mapping[str, object], program: Program) -> auto.Stack:
        """Create the stack ``name`` with its configuration (keys as in a stack file)."""
        folder = self._supervisor.run_dir / "stacks" / name
        folder.mkdir(parents=True, exist_ok=True)
        project = {"name": PROJECT, "runtime": "python", "backend": {"url": self._env["PULUMI_BACKEND_URL"]}}
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        settings = {"config": {key: config[key] for key in sorted(config)}}
        (folder / f"Pulumi.{name}.yaml").write_text(yaml.safe_dump(settings))
        options = auto.LocalWorkspaceOptions(
            work_dir=str(folder),
            pulumi_command=self._command,
            pulumi_home=self._env["PULUMI_HOME"],
            env_vars=self._env,
            secrets_provider="passphrase",
        )
        try:
            return auto.create_or_select_stack(
                stack_name=name, project_name=PROJECT, program=self._guarded(program), opts=options
            )
        except CommandError as error:
            raise RehearsalFailed(f"stack {name}", _last_line(str(error))) from error

    def up(self, stack: auto.Stack) -> Run:
        """Bring the stack up with the policies inside; raises ``RehearsalFailed`` with the first error."""
        return self._run(stack, "up", lambda listen: stack.up(
            policy_packs=self._packs or None, on_event=listen, color="never", suppress_progress=True, show_secrets=False
        ))  # fmt: skip

    def destroy(self, stack: auto.Stack) -> Run:
        """Destroy the stack."""
        return self._run(stack, "destroy", lambda listen: stack.destroy(
            on_event=listen, color="never", suppress_progress=True, show_secrets=False
        ))  # fmt: skip

    def unprotect(self, stack: auto.Stack) -> None:
        """Remove ``protect`` from all resources, as an operator must before a destroy."""
        deployment = stack.export_stack()
        resources = (deployment.deployment or {}).get("resources") or []
        protected = [one for one in resources if one.get("protect")]
        for one in protected:
            one["protect"] = False
        if protected:
            stack.import_stack(deployment)

    def _guarded(self, program: Program) -> Program:
        """Remember the program's own error: through the engine it would come back as a traceback."""

        async def run() -> None:
            try:
                result = program()
                if result is not None:
                    await result
            except (TonnageError, RunError) as error:
                cause = error if isinstance(error, TonnageError) else error.__cause__
                self._program_error = cause if isinstance(cause, TonnageError) else None
                raise

        return run

    def _run(self, stack: auto.Stack, verb: str, call: Callable[[Callable[[auto.EngineEvent], None]], object]) -> Run:
        events = _Events(self._progress)
        self._program_error = None
        try:
            call(events)
        except CommandError as error:
            self._supervisor.check()
            raise self._failure(stack.name, verb, events, str(error)) from None
        return Run(
            changes=events.changes,
            policies=tuple(events.policies),
            packs=tuple(events.packs),
            errors=tuple(events.errors),
        )

    def _failure(self, stack: str, verb: str, events: _Events, output: str) -> TonnageError:
        if self._program_error is not None:
            return self._program_error
        if events.policies:
            return RehearsalFailed(f"{stack}: policy", events.policies[0])
        killed = re.search(r"code: (-\d+|137|143)\b", output)
        if killed:
            return RehearsalFailed(f"{stack}: {verb}", f"the engine was killed (exit {killed.group(1)})")
        reason = events.errors[0] if events.errors else _last_line(output)
        if any(sign in reason for sign in GONE):
            reason = f"a provider died in the middle of {verb} ({reason})"
        return RehearsalFailed(f"{stack}: {verb}", reason)


class _Events:
    """Collects what the engine reports while it runs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.changes: Mapping[str, int] = {}
        self.packs: list[str] = []
        self.policies: list[str] = []
        self.errors: list[str] = []

    def __call__(self, event: auto.EngineEvent) -> None:
        if event.policy_event and event.policy_event.enforcement_level == "mandatory":
            self.policies.append(f"{event.policy_event.policy_name}: {_one_line(event.policy_event.message)}")
        elif event.diagnostic_event and event.diagnostic_event.severity == "error":
            self._diagnostic(event.diagnostic_event.urn or "", event.diagnostic_event.message)
        elif event.summary_event:
            self.packs = sorted(pack.partition("|")[0] for pack in event.summary_event.policy_packs or {})
            self.changes = {str(getattr(kind, "value", kind)): count
                            for kind, count in (event.summary_event.resource_changes or {}).items()}  # fmt: skip
        elif event.res_outputs_event and event.res_outputs_event.metadata.op != "same":
            metadata = event.res_outputs_event.metadata
            op = str(getattr(metadata.op, "value", metadata.op))
            self._progress(f"  {op} {metadata.type.rpartition(':')[2]} {metadata.urn.rpartition('::')[2]}")

    def _diagnostic(self, urn: str, message: str) -> None:
        text = _one_line(message)
        if text and not text.startswith(("update failed", "preview failed")):
            name = urn.rpartition("::")[2]
            self.errors.append(f"{name}: {text}" if name and name not in text else text)


@contextmanager
def engine(
    toolbox: Toolbox, supervisor: Supervisor, ports: Mapping[str, int], packs: Sequence[Path], progress: Progress
) -> Iterator[Engine]:
    """Yield an engine with the stand-in providers at ``ports``; its temporary files go when the run folder goes."""
    run_dir = supervisor.run_dir
    folders = {name: run_dir / name for name in ("home", "state", "tmp", "bin")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    supervisor.shim("pulumi", toolbox.pulumi)
    env = _environment(toolbox, supervisor, folders, ports)
    before = tempfile.tempdir
    tempfile.tempdir = str(folders["tmp"])
    # when the engine dies, the SDK's language server logs a traceback of its own; the report has the one line
    quiet = [logging.getLogger(name) for name in ("grpc._server", "asyncio")]
    levels = [(logger, logger.level) for logger in quiet]
    for logger in quiet:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        command = auto.PulumiCommand(root=str(run_dir), skip_version_check=True)
        yield Engine(supervisor=supervisor, command=command, env=env, packs=packs, progress=progress)
    finally:
        tempfile.tempdir = before
        for logger, level in levels:
            logger.setLevel(level)


def _environment(
    toolbox: Toolbox, supervisor: Supervisor, folders: Mapping[str, Path], ports: Mapping[str, int]
) -> dict[str, str]:
    path = [str(folders["bin"]), str(toolbox.policy_launcher_dir), os.environ.get("PATH", os.defpath)]
    return {
        **supervisor.environment(),
        "PATH": os.pathsep.join(path),
        "HOME": str(folders["home"]),
        "TMPDIR": str(folders["tmp"]),
        "PULUMI_HOME": str(folders["home"]),
        "PULUMI_BACKEND_URL": f"file://{folders['state']}",
        "PULUMI_CONFIG_PASSPHRASE": secrets.token_urlsafe(24),
        "PULUMI_DEBUG_PROVIDERS": ",".join(f"{name}:{port}" for name, port in sorted(ports.items())),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_CHECKPOINT_BACKUPS": "true",
        "TONNAGE_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }


def _one_line(text: str) -> str:
    return " ".join(text.replace("error: ", "", 1).split())


def _last_line(output: str) -> str:
    """Return the last line of the output that names an error, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() and not line.startswith("error: update failed")]
    return _one_line((errors or lines or ["the engine said nothing"])[-1])
