"""Which models the hub gives only to an account that has accepted their licence."""

from __future__ import annotations

from fnmatch import fnmatchcase

from sizing.catalogue.files import dated_file


def is_gated(model: str) -> bool:
    """Return True where ``model``, by its name at the hub, is known to be gated (``gated_models.json``)."""
    return any(fnmatchcase(model.lower(), row["models"].lower()) for row in dated_file("gated_models")["gated"])
