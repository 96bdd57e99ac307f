"""No two AWS resources of one type have the same name: AWS refuses the second after the first has been made."""

from __future__ import annotations

from collections.abc import Sequence

from policies.facts.names import named
from policies.graph import Resource, Violation
from policies.rule import Rule


def unique_cloud_names(resources: Sequence[Resource]) -> list[Violation]:
    """Check the names that AWS resources state; stacks that are judged together are taken to be in one account."""
    owners: dict[tuple[str, str], Resource] = {}
    violations = []
    for one in sorted(resources, key=lambda one: one.urn):
        found = named(one)
        if one.is_kubernetes or found is None:
            continue
        first = owners.setdefault((one.type, found[1]), one)
        if first is not one:
            message = f"{one.kind} {found[1]} is also {first.name}; limit: one of a name; hint: give one another name"
            violations.append(Violation(resource=one.urn, message=message))
    return violations


RULE = Rule(
    name="unique-cloud-names",
    description="No two AWS resources of one type have the same name.",
    level="mandatory",
    check=unique_cloud_names,
)
