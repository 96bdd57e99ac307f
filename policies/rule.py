"""What a rule is: a name, a level and a pure function over the resources of a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.graph import Resource, Violation

Level = Literal["mandatory", "advisory"]


Check = Callable[[Sequence[Resource]], list[Violation]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: ``check`` returns what is wrong with a whole stack."""

    name: str
    description: str
    level: Level
    check: Check
