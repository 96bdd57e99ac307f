"""Which rules there are, and how a graph is judged by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.graph import Resource, UnknownValue, Violation
from policies.rules.burn_ceiling import burn_ceiling
from policies.rules.exposure import exposure
from policies.rules.gpu_pools import gpu_pools

Level = Literal["mandatory", "advisory"]
Check = Callable[[Sequence[Resource]], list[Violation]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: ``check`` returns what is wrong with a whole stack."""

    name: str
    description: str
    level: Level
    check: Check


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one rule says about a stack. ``could_not_run`` names the unknown value that kept it from running."""

    rule: str
    description: str
    level: Level
    passed: bool
    violations: tuple[Violation, ...]
    could_not_run: str = ""

    def to_document(self) -> dict[str, object]:
        """Return plain JSON: rule, level, passed, violations [{resource, message}], could_not_run."""
        found = [{"resource": one.resource, "message": one.message} for one in self.violations]
        return {
            "rule": self.rule,
            "description": self.description,
            "level": self.level,
            "passed": self.passed,
            "violations": found,
            "could_not_run": self.could_not_run,
        }


ALL_RULES: tuple[Rule, ...] = (
    Rule(
        name="burn-ceiling",
        description="The most that the stack can cost, recomputed from its resources, is within its budget.",
        level="mandatory",
        check=burn_ceiling,
    ),
    Rule(
        name="gpu-pools",
        description="GPU pods tolerate, name and fit the pools that exist; pools buy the GPU they are labelled with.",
        level="mandatory",
        check=gpu_pools,
    ),
    Rule(
        name="exposure",
        description="No public engine, no key in the manifest, every image by digest.",
        level="mandatory",
        check=exposure,
    ),
)


def judge_rule(rule: Rule, resources: Sequence[Resource]) -> Verdict:
    """Run one rule; a rule that met an unknown value did not run, and that is not a pass."""
    found: tuple[Violation, ...] = ()
    missing = ""
    try:
        found = tuple(sorted(set(rule.check(resources)), key=lambda one: (one.resource, one.message)))
    except UnknownValue as unknown:
        missing = f"{unknown} is not known yet"
    return Verdict(
        rule=rule.name,
        description=rule.description,
        level=rule.level,
        passed=not found and not missing,
        violations=found,
        could_not_run=missing,
    )


def judge(resources: Iterable[Resource]) -> tuple[Verdict, ...]:
    """Run every rule over the resources of one stack (or of the stacks of one environment together)."""
    known = tuple(resources)
    return tuple(judge_rule(rule, known) for rule in ALL_RULES)
