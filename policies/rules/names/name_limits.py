"""Every name and label has a length and letters that its service takes; others fail in the middle of an update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from policies.facts.names import LABEL_VALUE, named
from policies.graph import Resource, Violation, is_unknown
from policies.rule import Rule


def name_limits(resources: Sequence[Resource]) -> list[Violation]:
    """Check the names that resources state and the labels of objects; a name that is not known yet is not judged."""
    return [
        Violation(
            resource=one.urn, message=f"{one.kind} {problem}; hint: a shorter or simpler environment or model name"
        )
        for one in resources
        for problem in _problems(one)
        if problem
    ]


def _problems(resource: Resource) -> Iterator[str]:
    found = named(resource)
    if found is not None:
        form, name = found
        yield form.problem(name)
    if resource.is_kubernetes:
        for key, value in _labels(resource.props):
            if problem := LABEL_VALUE.problem(value):
                yield f"label {key}: {problem}"


def _labels(document: object) -> Iterator[tuple[str, str]]:
    """Yield the labels of an object and of the templates inside it."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            if key in {"labels", "matchLabels"} and isinstance(value, Mapping):
                yield from _known(value)
            else:
                yield from _labels(value)
    elif isinstance(document, (list, tuple)):
        for item in document:
            yield from _labels(item)


def _known(labels: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in labels.items() if isinstance(value, str) and not is_unknown(value))


RULE = Rule(
    name="name-limits",
    description="Every name and label has a length and letters that its service takes.",
    level="mandatory",
    check=name_limits,
)
