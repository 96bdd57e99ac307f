"""The list of rules, and their run over a graph of resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules

from policies.graph import Resource, UnknownValue, Violation
from policies.rule import Level, Rule


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Result of one rule for a stack. ``could_not_run`` names the unknown value that kept it from running."""

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


GROUPS = ("cost", "capacity", "exposure", "kubernetes", "names")
"""Folders of ``policies/rules``, in the order in which verdicts are shown."""


def find_rules(groups: Sequence[str] = GROUPS) -> tuple[Rule, ...]:
    """Return the ``RULE`` of every file of these groups, by group and file name; a file without one is an error."""
    found: list[Rule] = []
    for group in groups:
        package = import_module(f"policies.rules.{group}")
        names = sorted(module.name for module in iter_modules(package.__path__))
        found += [import_module(f"{package.__name__}.{name}").RULE for name in names]
    return tuple(found)


ALL_RULES: tuple[Rule, ...] = find_rules()


def judge_rule(rule: Rule, resources: Sequence[Resource]) -> Verdict:
    """Run one rule; if it meets an unknown value it has not run and does not pass."""
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
