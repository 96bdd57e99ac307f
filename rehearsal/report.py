"""What a rehearsal found, as data; the command renders it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sizing.plan import StackPlan

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of the rehearsal and how long it took."""

    name: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one pod was at the end of a stage; ``node`` is empty for a Pending pod, ``missing`` says why."""

    stage: str
    model: str
    pod: str
    node: str
    pool: str
    instance_type: str
    zone: str
    capacity_type: str
    asks: str = ""
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison with the plan and its outcome."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class RuleVerdict:
    """What the policy pack inside the engine said about one stack."""

    stack: str
    rule: str
    passed: bool
    message: str = ""


@dataclass(kw_only=True)
class RehearsalReport:
    """Everything that a rehearsal found. ``passed`` is the answer; exit code 3 when it is False."""

    stack: str
    scenario: str | None
    tools: Mapping[str, str] = field(default_factory=dict)
    plan: StackPlan | None = None
    stages: list[Stage] = field(default_factory=list)
    resources: dict[str, int] = field(default_factory=dict)
    """Resources that the first ``up`` of each stack made."""
    placements: list[Placement] = field(default_factory=list)
    policies: list[RuleVerdict] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    second_up: dict[str, int] = field(default_factory=dict)
    """Changes of a second ``up`` by stack."""
    refused: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    not_validated: list[str] = field(default_factory=list)
    usd_per_hour: dict[str, float] = field(default_factory=dict)
    """GPU nodes at the ceiling: at the price paid, at the on-demand price, and as the plan's ceiling."""
    leftovers: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Volumes that outlive the stack on purpose (storage class with ``Retain``); they go on costing money."""
    failure: str = ""

    @property
    def pending(self) -> list[Placement]:
        """Pods that found no node."""
        return [one for one in self.placements if not one.node]

    @property
    def passed(self) -> bool:
        """Whether everything went as the plan said."""
        judged = [*(one.passed for one in self.checks), *(one.passed for one in self.policies)]
        return not self.failure and not self.leftovers and all(judged)

    def first_problem(self) -> str:
        """Return one line on why the rehearsal did not pass, "" when it did."""
        if self.failure:
            return self.failure
        for check in self.checks:
            if not check.passed:
                return f"{check.name}: {check.detail}"
        for verdict in self.policies:
            if not verdict.passed:
                return f"{verdict.stack}: policy {verdict.rule}: {verdict.message}"
        return f"left behind: {self.leftovers[0]}" if self.leftovers else ""

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON. ``schema`` changes when a key is removed or changes its meaning."""
        return {
            "schema": SCHEMA,
            "stack": self.stack,
            "scenario": self.scenario,
            "passed": self.passed,
            "problem": self.first_problem(),
            "tools": dict(self.tools),
            "models": _models(self.plan),
            "stages": [asdict(one) for one in self.stages],
            "resources": dict(self.resources),
            "placements": [asdict(one) for one in self.placements],
            "pending": [asdict(one) for one in self.pending],
            "policies": [asdict(one) for one in self.policies],
            "checks": [asdict(one) for one in self.checks],
            "second_up": dict(self.second_up),
            "refused": list(self.refused),
            "dropped": list(self.dropped),
            "not_validated": list(self.not_validated),
            "usd_per_hour": dict(self.usd_per_hour),
            "leftovers": list(self.leftovers),
            "kept": list(self.kept),
        }


def _models(plan: StackPlan | None) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "model": one.model,
            "gpu": one.gpu,
            "instance_type": one.instance_type,
            "tensor_parallel": one.tensor_parallel,
            "replicas": asdict(one.replicas),
            "pools": list(one.pools),
        }
        for one in (plan.models if plan else ())
    ]
