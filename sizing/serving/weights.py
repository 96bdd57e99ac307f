"""Whether the ingest job would take what is planned, and how the ranks of a replica read it."""

from __future__ import annotations

import re

from sizing.catalogue import Catalogue
from sizing.catalogue.files import serving_facts
from sizing.inputs import ModelEntry
from sizing.models.spec import ModelSpec
from sizing.plan import EngineSettings
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


def reads_once(model: ModelSpec, engine: EngineSettings) -> bool:
    """Return True where the ranks read the weights once and pass them on, which not every architecture survives."""
    known = serving_facts("streamer")["distributed_architectures"]
    return engine.tensor_parallel > 1 and not engine.enforce_eager and model.architecture in known


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
