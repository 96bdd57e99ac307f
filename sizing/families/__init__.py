"""Model families: one small file each, one registry. Adding a family touches its file and the line below.

A family is a module with a tuple ``ARCHITECTURES`` of the names in ``config.json`` that it understands and a
function ``build(config, identity) -> ModelSpec``, put together from ``parts``.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from sizing.errors import BadInput
from sizing.families.parts import Identity
from sizing.families.unserved import reason
from sizing.model import ModelSpec


class Family(Protocol):
    """Builds the description of a model from its configuration."""

    def __call__(self, config: Mapping[str, object], identity: Identity) -> ModelSpec:
        """Return the description; BadInput names the field that is missing or absurd."""
        ...


NAMES = (
    "dbrx", "decoders", "deepseek_v4", "dense", "eagle", "embedding", "encoders", "gemma4", "glm5_next",
    "gpt_oss", "kimi_linear", "laguna", "lfm2", "llama4", "longcat", "mamba", "mamba_hybrid", "medusa",
    "mimo_v2", "minicpm3", "mla", "mllama", "moe", "multimodal", "nemotron_h", "nemotron_nas", "qwen3_next",
    "sliding", "whisper", "zamba2",
)  # fmt: skip
FAMILIES = tuple(import_module(f"sizing.families.{name}") for name in NAMES)
REGISTRY: Mapping[str, Family] = {name: family.build for family in FAMILIES for name in family.ARCHITECTURES}


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
