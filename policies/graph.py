"""Resources as the rules see them: plain props in wire form, some of them unknown during preview.

``look`` raises ``UnknownValue`` for an unknown value, and the registry counts the rule as not run, which is a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SENTINELS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""How the engine writes an unknown boolean, number, string, array and object (``pulumi_policy/proxy.py``)."""


class UnknownValue(Exception):
    """A rule needed a value that is not known during preview."""

    def __init__(self, path: Sequence[str]) -> None:
        super().__init__(".".join(path))


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource: type token, logical name, URN and properties with the provider's (camelCase) keys."""

    type: str
    name: str
    urn: str
    props: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Last part of the type token: ``Deployment``, ``NodeGroup``."""
        return self.type.rpartition(":")[2]

    @property
    def is_kubernetes(self) -> bool:
        """Whether the Kubernetes provider owns it."""
        return self.type.startswith("kubernetes:")

    @property
    def object_name(self) -> str:
        """Name of the Kubernetes object, or the logical name where it is left to the provider."""
        return str(look(self.props, "metadata", "name") or self.name)

    @property
    def namespace(self) -> str:
        """Namespace of the Kubernetes object."""
        return str(look(self.props, "metadata", "namespace") or "default")


@dataclass(frozen=True, kw_only=True)
class Violation:
    """One violation: ``resource`` is a URN, ``message`` one line with value, limit and hint."""

    resource: str
    message: str


def is_unknown(value: object) -> bool:
    """Whether ``value`` is a placeholder for a value that is unknown until ``up``."""
    return isinstance(value, str) and any(sentinel in value for sentinel in SENTINELS)


def look(value: object, *path: str) -> Any:
    """Return the value at ``path`` in nested mappings, None where missing; raise ``UnknownValue`` where unknown."""
    for depth, key in enumerate(path):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
        if is_unknown(value):
            raise UnknownValue(path[: depth + 1])
    return value


def entries(value: object, *path: str) -> list[Any]:
    """Return the list at ``path`` ([] where missing); raise ``UnknownValue`` when it or an element is unknown."""
    found = look(value, *path)
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    if any(is_unknown(element) for element in found):
        raise UnknownValue(path)
    return list(found)


def of_kind(resources: Iterable[Resource], *kinds: str) -> list[Resource]:
    """Kubernetes resources of these kinds, in the order given."""
    return [resource for resource in resources if resource.is_kubernetes and resource.kind in kinds]


def of_type(resources: Iterable[Resource], *tokens: str) -> list[Resource]:
    """Resources with one of these type tokens."""
    return [resource for resource in resources if resource.type in tokens]
