"""The policy pack. Constructing it starts a server and never returns: import ``policies.registry`` instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import EnforcementLevel, PolicyPack, ReportViolation, StackValidationArgs, StackValidationPolicy
from pulumi_policy.proxy import UnknownValueError

from policies.graph import Resource
from policies.registry import ALL_RULES, judge_rule
from policies.rule import Rule

LEVELS = {"mandatory": EnforcementLevel.MANDATORY, "advisory": EnforcementLevel.ADVISORY}


def plain(value: Any) -> Any:
    """Copy the SDK's proxies into plain values; unknown values become the engine's placeholders."""
    if isinstance(value, Mapping):
        return {key: _element(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_element(value, index) for index in range(len(value))]
    return value


def _element(container: Any, key: Any) -> Any:
    try:
        return plain(container[key])
    except UnknownValueError as unknown:
        return unknown.unknown_type_sentinel


def policy(rule: Rule) -> StackValidationPolicy:
    """Wrap one rule; one that could not run is reported as a violation, because the engine would let it pass."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        resources = [
            Resource(type=one.resource_type, name=one.name, urn=one.urn, props=plain(one.props))
            for one in args.resources
        ]
        verdict = judge_rule(rule, resources)
        if verdict.could_not_run:
            report(f"could not run: {verdict.could_not_run}; hint: run the cluster stack first", None)
        for violation in verdict.violations:
            report(violation.message, violation.resource)

    return StackValidationPolicy(
        name=rule.name, description=rule.description, validate=validate, enforcement_level=LEVELS[rule.level]
    )


if __name__ == "__main__":
    PolicyPack(name="tonnage", policies=[policy(rule) for rule in ALL_RULES])
