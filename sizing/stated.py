"""Base of every type that a user declares, a frozen pydantic model; forms of names and commits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

KUBERNETES_NAME = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
"""RFC 1123 label, kept to 40 characters so that derived names stay under the limit of 63."""
COMMIT = r"^[0-9a-f]{40}$"
"""A commit at the model hub: what is stored under it never changes, as it does under branches, tags and short forms."""


class Stated(BaseModel):
    """Base of everything that a user writes: frozen, strict, camelCase keys, unknown keys refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )
