"""No two resources are the same Kubernetes object: each would overwrite the other, and deleting one deletes both.

Stacks that are judged together are taken to be on one cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.graph import Resource, Violation, look
from policies.rule import Rule


def unique_names(resources: Sequence[Resource]) -> list[Violation]:
    """Check kind, namespace and name of the objects that have a name; the provider makes up the other names."""
    owners: dict[tuple[str, str, str, str], list[Resource]] = {}
    for one in resources:
        if one.is_kubernetes and look(one.props, "metadata", "name"):
            owners.setdefault((_group(one), one.kind, one.namespace, one.object_name), []).append(one)
    violations = []
    for (_, kind, namespace, name), same in owners.items():
        first, *others = sorted(same, key=lambda one: one.urn)
        message = f"{kind} {name} in {namespace} is also {first.name}; limit: one owner; hint: give one another name"
        violations += [Violation(resource=other.urn, message=message) for other in others]
    return violations


def _group(resource: Resource) -> str:
    """Return the API group, whatever its version: ``apps`` of ``kubernetes:apps/v1:Deployment``."""
    return resource.type.split(":")[1].partition("/")[0]


RULE = Rule(
    name="unique-names",
    description="No two resources are the same Kubernetes object.",
    level="mandatory",
    check=unique_names,
)
