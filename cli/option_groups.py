"""Options declared once for several verbs: a frozen dataclass with one field per option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Any, get_type_hints


@dataclass(frozen=True, kw_only=True)
class OptionGroup:
    """Base class of option groups: each field has a typer annotation."""

    def given(self) -> dict[str, Any]:
        """Return the options that the user gave, by name; those at their default are absent."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}


def with_groups(verb: Callable[..., None]) -> Callable[..., None]:
    """Replace a parameter that is a group by one option per field in the signature that typer reads."""
    hints = get_type_hints(verb, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    seen = [
        parameter
        for whole in signature(verb).parameters.values()
        for parameter in (
            _options(groups[whole.name]) if whole.name in groups else [whole.replace(annotation=hints[whole.name])]
        )
    ]

    @wraps(verb)
    def call(**values: Any) -> None:
        made = {
            name: kind(**{field.name: values.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        verb(**made, **values)

    setattr(call, "__signature__", signature(verb).replace(parameters=seen))  # noqa: B010 (no function type has it)
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in seen}
    return call


def _options(group: type[Any]) -> list[Parameter]:
    """Return the fields of a group, those of its bases first, as parameters of a verb."""
    hints = get_type_hints(group, include_extras=True)
    missing = Parameter.empty
    defaults = {field.name: getattr(group, field.name, missing) for field in fields(group)}
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in defaults.items()
    ]
