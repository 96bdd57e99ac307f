"""Differences between two preview documents: sentences first, then figures.

``compare`` is deterministic and takes only documents, so the ``--format json`` of any earlier commit can be compared
with the current stack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.preview import PREVIEW_SCHEMA
from sizing.errors import BadInput
from sizing.serving.vector_store import check_disk_is_kept

Document = dict[str, Any]
BOUNDS = ("floor", "expected", "ceiling")
CENT = 0.005


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Burn(_Read):
    usd_per_hour: float
    usd_per_month: float


class _Replicas(_Read):
    floor: int
    expected: int
    ceiling: int


class _Model(_Read):
    name: str
    model: str
    revision: str
    gpu: str
    instance_type: str
    instances_per_replica: int
    tensor_parallel: int
    pipeline_parallel: int
    replicas: _Replicas
    engine_args: tuple[str, ...]
    shm_gib: int
    startup_budget_s: int
    grace_period_s: int


class _Pool(_Read):
    name: str
    capacity_type: str
    instance_types: tuple[str, ...]
    zones: tuple[str, ...]
    instances: _Replicas
    gpu_limit: int
    disk_gib: int
    models: tuple[str, ...]


class _Resource(_Read):
    type: str
    name: str
    digest: str = ""


class _Policy(_Read):
    rule: str
    passed: bool


class _Budget(_Read):
    monthly_usd: float
    on_exceed: str


class _VectorStore(_Read):
    disk_gib: int


class _Preview(_Read):
    """The part of a preview document that a comparison reads."""

    document_schema: int = Field(alias="schema")
    stack: str
    models: tuple[_Model, ...]
    pools: tuple[_Pool, ...]
    burn: dict[str, _Burn]
    budget: _Budget | None
    vector_store: _VectorStore | None = None
    resources: tuple[_Resource, ...]
    policies: tuple[_Policy, ...]


MODEL_FIELDS = {
    "model": "model",
    "revision": "revision",
    "gpu": "GPU",
    "instance_type": "instance type",
    "instances_per_replica": "instances per replica",
    "tensor_parallel": "tensor parallelism",
    "pipeline_parallel": "pipeline parallelism",
    "replicas": "replicas",
    "engine_args": "engine arguments",
    "shm_gib": "shared memory (GiB)",
    "startup_budget_s": "start-up budget (s)",
    "grace_period_s": "grace period (s)",
}
POOL_FIELDS = {
    "capacity_type": "capacity",
    "instance_types": "instance types",
    "zones": "zones",
    "instances": "nodes",
    "gpu_limit": "GPU limit",
    "disk_gib": "disk (GiB)",
    "models": "models",
}


def compare(before: Mapping[str, Any], after: Mapping[str, Any], *, where: str = "--against") -> Document:
    """Return ``words`` (sentences), ``burn``, ``models``, ``pools``, ``resources`` and ``policies`` that changed.

    Raises BadInput with ``where`` when ``before`` is not a preview document of this version, and when the vector store
    of the same stack had larger disks.
    """
    old, new = _read(before, where), _read(after, "preview")
    if old.vector_store and new.vector_store and old.stack == new.stack:
        check_disk_is_kept(new.vector_store.disk_gib, old.vector_store.disk_gib)
    document: Document = {
        "from_stack": old.stack,
        "burn": _burn(old, new),
        "budget": _budget(old, new),
        "models": _entries(old.models, new.models, MODEL_FIELDS),
        "pools": _entries(old.pools, new.pools, POOL_FIELDS),
        "resources": _resources(old.resources, new.resources),
        "policies": _policies(old.policies, new.policies),
    }
    words = _words(document, new)
    return {"changed": bool(words), "words": words or ["Nothing changes."], **document}


def _read(document: Mapping[str, Any], where: str) -> _Preview:
    found = document.get("schema")
    if found != PREVIEW_SCHEMA or "resources" not in document:
        problem = f"not a preview document of version {PREVIEW_SCHEMA}"
        raise BadInput(where, problem, way_out="write one with: tonnage preview STACK --format json > FILE")
    try:
        read = _Preview.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise BadInput(where, f"{path}: {first['msg'].lower()}") from error
    missing = [bound for bound in BOUNDS if bound not in read.burn]
    if missing:
        raise BadInput(where, f"burn.{missing[0]}: field required")
    return read


def _burn(old: _Preview, new: _Preview) -> Document:
    rows = {}
    for bound in BOUNDS:
        before, after = old.burn[bound].usd_per_month, new.burn[bound].usd_per_month
        rows[bound] = {"before": before, "after": after, "change": round(after - before, 2)}
    return rows


def _budget(old: _Preview, new: _Preview) -> Document | None:
    before = old.budget.monthly_usd if old.budget else None
    after = new.budget.monthly_usd if new.budget else None
    return None if before == after else {"before": before, "after": after}


def _entries(old: Sequence[Any], new: Sequence[Any], fields: Mapping[str, str]) -> Document:
    """Compare named entries field by field."""
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    changed = []
    for name in sorted(before.keys() & after.keys()):
        changes = [
            {"what": label, "before": _shown(getattr(before[name], key)), "after": _shown(getattr(after[name], key))}
            for key, label in fields.items()
            if getattr(before[name], key) != getattr(after[name], key)
        ]
        if changes:
            changed.append({"name": name, "changes": changes})
    return {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": changed,
    }


def _shown(value: object) -> str:
    if isinstance(value, _Replicas):
        return f"{value.floor}/{value.expected}/{value.ceiling}"
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _resources(old: Sequence[_Resource], new: Sequence[_Resource]) -> Document:
    before = {(one.type, one.name): one.digest for one in old}
    after = {(one.type, one.name): one.digest for one in new}
    changed = [key for key in before.keys() & after.keys() if before[key] != after[key]]
    return {
        "added": _keys(after.keys() - before.keys()),
        "removed": _keys(before.keys() - after.keys()),
        "changed": _keys(changed),
    }


def _keys(keys: Iterable[tuple[str, str]]) -> list[Document]:
    return [{"type": kind, "name": name} for kind, name in sorted(keys)]


def _policies(old: Sequence[_Policy], new: Sequence[_Policy]) -> list[Document]:
    before = {one.rule: one.passed for one in old}
    rows = [{"rule": one.rule, "before": before.get(one.rule), "after": one.passed} for one in new]
    return [row for row in rows if row["before"] != row["after"]]


def _words(document: Document, new: _Preview) -> list[str]:
    words = [*_words_models(document["models"], new), *_words_pools(document["pools"]), *_words_burn(document, new)]
    found = document["resources"]
    counts = [(len(found["added"]), "added"), (len(found["changed"]), "changed"), (len(found["removed"]), "removed")]
    said = [f"{count} {verb}" for count, verb in counts if count]
    if said:
        words.append(f"Resources: {', '.join(said)}.")
    words += [f"Policy {row['rule']} is now {'met' if row['after'] else 'VIOLATED'}." for row in document["policies"]]
    if words and document["from_stack"] != new.stack:
        words.insert(0, f"Compared with another stack: {document['from_stack']}.")
    return words


def _words_models(models: Document, new: _Preview) -> list[str]:
    known = {one.name: one for one in new.models}
    words = [
        f"New model {name}: {known[name].model} on {known[name].gpu} ({known[name].instance_type}, "
        f"TP {known[name].tensor_parallel})."
        for name in models["added"]
    ]
    words += [f"Model {name} goes." for name in models["removed"]]
    for entry in models["changed"]:
        words.append(f"Model {entry['name']}: {_words_changes(entry['changes'])}.")
    return words


def _words_changes(changes: Sequence[Mapping[str, str]]) -> str:
    long = {"engine arguments", "zones"}
    parts = [
        f"{change['what']} change" if change["what"] in long
        else f"{change['what']} {change['before']} → {change['after']}"
        for change in changes
    ]  # fmt: skip
    return "; ".join(parts)


def _words_pools(pools: Document) -> list[str]:
    words = [f"New node pool {name}." for name in pools["added"]]
    words += [f"Node pool {name} goes." for name in pools["removed"]]
    return words + [f"Node pool {entry['name']}: {_words_changes(entry['changes'])}." for entry in pools["changed"]]


def _words_burn(document: Document, new: _Preview) -> list[str]:
    words = []
    names = {"floor": "floor", "expected": "expected bill", "ceiling": "ceiling"}
    for bound in ("expected", "ceiling", "floor"):
        row = document["burn"][bound]
        if abs(row["change"]) < CENT:
            continue
        verb = "rises" if row["change"] > 0 else "falls"
        share = f" ({row['change'] / row['before']:+.0%})" if row["before"] else ""
        words.append(
            f"The {names[bound]} {verb} by ${abs(row['change']):,.2f} a month{share}, "
            f"from ${row['before']:,.2f} to ${row['after']:,.2f}."
        )
    if document["budget"]:
        before, after = document["budget"]["before"], document["budget"]["after"]
        words.append(f"The budget goes from {_usd(before)} to {_usd(after)} a month.")
    if words and new.budget:
        over = document["burn"]["ceiling"]["after"] > new.budget.monthly_usd
        words.append(f"The ceiling is {'OVER' if over else 'within'} the budget of {_usd(new.budget.monthly_usd)}.")
    return words


def _usd(value: float | None) -> str:
    return "none" if value is None else f"${value:,.0f}"
