"""Whether the ingest job would take what is planned: a commit, and weights that can be streamed."""

from __future__ import annotations

import re

from sizing.catalogue import Catalogue
from sizing.inputs import ModelEntry
from sizing.stated import COMMIT


def ingest_problems(entry: ModelEntry, catalogue: Catalogue, *, only: str = "") -> tuple[str, ...]:
    """Return a sentence for each checkpoint of the entry, or ``only`` for one, that the ingest job would refuse."""
    base = catalogue.model(entry.model).name
    names = dict.fromkeys((base, *(catalogue.model(name).name for name in entry.allowed_variants)))
    found = []
    for name in names:
        if only in {"", name}:
            stated = entry.revision if name == base else None
            problem = _problem(name, stated, catalogue)
            variant = "" if name == base else ", as the entry's model: that of a variant is the catalogue's"
            found += [f"{problem}{variant}"] if problem else []
    return tuple(found)


def _problem(name: str, stated: str | None, catalogue: Catalogue) -> str:
    hub = f"git ls-remote https://huggingface.co/{name}"
    known = catalogue.model(name).revision
    revision = stated or known
    if re.fullmatch(COMMIT, revision) is None:
        way_out = f"state `revision:` (40 hex digits) in the entry; find it with: {hub} HEAD"
        return f"model {name} has no pinned commit in the catalogue; {way_out}"
    if not catalogue.has_safetensors(name, revision):
        way_out = "leave `revision:` out" if catalogue.has_safetensors(name, known) else f"find one: {hub} 'refs/pr/*'"
        return f"model {name} has no .safetensors at {revision}; {way_out}"
    return ""
