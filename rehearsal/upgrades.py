"""What changes on a running stack: the same stack file with one line changed, deployed on what already runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from rehearsal.control_plane.objects import Document, ObjectClient
from rehearsal.report import Check
from rehearsal.simulated.pods import name_of, number
from sizing.errors import BadInput
from sizing.plan import StackPlan
from sizing.serving.upgrades import gap_s, upgrade_losses
from sizing.units import SECONDS_PER_MINUTE

STORE, RUNTIME = "tonnage:vectorStore", "tonnage:runtime"
OTHER_DIGEST = "sha256:" + "1" * 64
GIB = 2**30
GROWTH = 1.1
"""How much a vector store grows in a rehearsal: enough that its disks must, little enough for the nodes it is on."""
Config = Mapping[str, Any]


def store_growth(config: Config) -> Config:
    """Return the configuration with more vectors; BadInput without a vector store."""
    if not config.get(STORE):
        raise BadInput("--scenario", "the stack has no vector store", way_out=f"state {STORE}, or rehearse another")
    changed = deepcopy(dict(config))
    changed[STORE]["vectors"] = round(changed[STORE]["vectors"] * GROWTH)
    return changed


def engine_version(config: Config) -> Config:
    """Return the configuration with another image of the engine, which replaces every replica."""
    changed = deepcopy(dict(config))
    changed[RUNTIME]["imageDigest"] = OTHER_DIGEST
    return changed


UPGRADES: Mapping[str, tuple[Callable[[Config], Config], ...]] = {
    "engine-version": (engine_version,),
    "store-growth": (store_growth,),
    "upgrades": (engine_version, store_growth),
}
"""Scenario -> what is changed, one after the other, each time giving the configuration of the serving stack."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """Identities of what may not be replaced: object -> uid, and the size of each claim's volume in GiB."""

    uids: Mapping[str, str]
    volumes_gib: Mapping[str, float]

    @classmethod
    def of(cls, client: ObjectClient) -> Running:
        """Read what runs now: claims, the sets that own them, and the pods of the models."""
        claims = client.list("v1", "PersistentVolumeClaim")
        sets = client.list("apps/v1", "StatefulSet")
        models = client.list("v1", "Pod", selector="app.kubernetes.io/component=model")
        kept = [*claims, *sets, *models]
        return cls(
            uids={f"{one['kind']} {name_of(one)}": one["metadata"]["uid"] for one in kept},
            volumes_gib={name_of(one): _size_gib(one) for one in claims},
        )


def _size_gib(claim: Document) -> float:
    """Return the size that the volume has, not the one that is asked for."""
    return number((claim.get("status", {}).get("capacity") or {}).get("storage")) / GIB


def grown_in_place(plan: StackPlan, before: Running, after: Running) -> list[Check]:
    """Every volume of the store has the planned size, and nothing that holds data or serves was replaced."""
    planned = plan.vector_store.disk_gib if plan.vector_store else 0
    small = [f"{claim} has {size:g} GiB" for claim, size in after.volumes_gib.items() if size != planned]
    gone = [f"{what} was replaced" for what, uid in before.uids.items() if after.uids.get(what) != uid]
    grew = sum(size > before.volumes_gib.get(claim, size) for claim, size in after.volumes_gib.items())
    return [
        _check(f"store-growth: every volume has {planned} GiB", small, f"{grew} grew in place"),
        _check("store-growth: no claim, set or model pod is replaced", gone, f"{len(before.uids)} objects kept"),
    ]


def lost_as_planned(plan: StackPlan, gaps: Mapping[str, int], least: Mapping[str, int]) -> list[Check]:
    """Every model lost what the preview says of a rollout, and no fewer replicas served meanwhile.

    ``gaps`` were counted by the API server's events; each lasts what the plan says of a drain and a start.
    """
    checks = []
    for model in plan.models:
        planned = upgrade_losses(model, plan.pools)[0]
        lost = round(gaps[model.name] * model.resources.gpus * gap_s(model, new_node=False) / SECONDS_PER_MINUTE, 1)
        said = f"{lost:g} GPU-minutes, planned {planned.gpu_minutes:g}; at least {least[model.name]} served"
        passed = lost == planned.gpu_minutes and least[model.name] >= planned.serving
        checks.append(Check(name=f"engine-version: {model.name} loses what was planned", passed=passed, detail=said))
    return checks


def all_passed(checks: Sequence[Check]) -> bool:
    """Whether every check passed."""
    return all(one.passed for one in checks)


def shrink_refused(problem: str) -> Check:
    """Going back to fewer vectors is refused with the way out, for volumes cannot shrink."""
    passed = "cannot shrink" in problem and "state diskGib" in problem
    return Check(name="store-growth: smaller volumes are refused", passed=passed, detail=problem or "was accepted")


def _check(name: str, problems: Sequence[str], otherwise: str) -> Check:
    return Check(name=name, passed=not problems, detail="; ".join(problems) or otherwise)
