"""Architecture name -> family: filled by ``models.families``, read by families that contain another one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Protocol

from sizing.errors import BadInput
from sizing.models.blocks.parts import Identity
from sizing.models.blocks.unserved import reason
from sizing.models.spec import ModelSpec


class Family(Protocol):
    """Builds the description of a model from its configuration."""

    def __call__(self, config: Mapping[str, object], identity: Identity) -> ModelSpec:
        """Return the description; BadInput names the field that is missing or absurd."""
        ...


class FamilyModule(Protocol):
    """A file of ``models.families``."""

    __name__: str

    @property
    def ARCHITECTURES(self) -> Sequence[str]:  # noqa: N802 - a constant of the module
        """Names in ``config.json`` that the family understands."""
        ...

    @property
    def build(self) -> Family:
        """Builder of the description."""
        ...


REGISTRY: dict[str, Family] = {}
"""Filled by ``sizing.models.families``, which everything outside ``models`` reaches through ``model_from_config``."""


def register(architectures: Sequence[str], build: Family) -> None:
    """Enter a family under each name in ``config.json`` that it understands."""
    REGISTRY.update(dict.fromkeys(architectures, build))


def family_of(config: Mapping[str, object]) -> Family:
    """Return the family of ``architectures[0]``; BadInput when it is absent or not modelled."""
    stated = config.get("architectures")
    if not isinstance(stated, list) or not stated or not isinstance(stated[0], str):
        raise BadInput("config.json: architectures", "missing or not a list of names", way_out=_supported())
    if stated[0] not in REGISTRY:
        close = difflib.get_close_matches(stated[0][:80], sorted(REGISTRY), n=2)
        nearest = f"nearest modelled: {', '.join(close)}; " if close else ""
        problem = reason(stated[0]) or f"{stated[0][:80]!r} is not yet modelled"
        raise BadInput("config.json: architectures", problem, way_out=nearest + _supported())
    return REGISTRY[stated[0]]


def _supported() -> str:
    return f"{len(REGISTRY)} architectures are modelled: docs/reference/architectures.md"
