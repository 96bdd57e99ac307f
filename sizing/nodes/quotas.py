"""EC2 service quotas as bounds: vCPUs of an instance family that an account may run, on demand and on spot apart.

    needed = sum over pools of ceiling nodes x most vCPUs of an offer that counts against the quota

Spot nodes count against both: where spot is not sold they are bought on demand, which only works within that quota.

Only stated quotas bound anything. AWS counts them per region.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sizing.catalogue import Catalogue
from sizing.errors import BadInput
from sizing.inputs import Capacity
from sizing.plan import CapacityType, InstanceOffer, NodePoolPlan


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """Nodes of one capacity type out of a list of offers, at the most traffic."""

    capacity_type: CapacityType
    nodes: int
    offers: Sequence[InstanceOffer]


def purchases_of(pools: Iterable[NodePoolPlan]) -> tuple[Purchase, ...]:
    """Return what pools may buy."""
    return tuple(Purchase(capacity_type=p.capacity_type, nodes=p.ceiling_instances, offers=p.offers) for p in pools)


def vcpus_by_quota(purchases: Iterable[Purchase], catalogue: Catalogue) -> dict[str, int]:
    """Return the most vCPUs that ``purchases`` run at once, by quota code."""
    needed: dict[str, int] = {}
    for purchase in purchases:
        most: dict[str, int] = {}
        for offer in purchase.offers:
            instance = catalogue.instance(offer.instance_type)
            codes = {instance.quota_on_demand} | ({instance.quota_spot} if purchase.capacity_type == "spot" else set())
            for code in codes:
                most[code] = max(most.get(code, 0), offer.vcpu)
        for code, vcpu in most.items():
            needed[code] = needed.get(code, 0) + purchase.nodes * vcpu
    return {code: count for code, count in sorted(needed.items()) if count}


def quota_title(code: str, catalogue: Catalogue) -> str:
    """Return what AWS calls a quota, without its remarks."""
    return catalogue.quotas[code].partition(" (")[0].partition(",")[0]


def check_quotas(capacity: Capacity, catalogue: Catalogue) -> None:
    """Raise BadInput for a code that is the quota of no instance type of the catalogue."""
    for quota in capacity.quotas:
        if quota.code not in catalogue.quotas:
            known = ", ".join(sorted(catalogue.quotas))
            raise BadInput("capacity.quotas", f"{quota.code!r} is no vCPU quota of the catalogue", limit=known)


def quota_shortage(capacity: Capacity, purchases: Iterable[Purchase], catalogue: Catalogue) -> str:
    """Return which stated quota ``purchases`` exceed, as a sentence; empty when none."""
    needed = vcpus_by_quota(purchases, catalogue) if capacity.quotas else {}
    for quota in capacity.quotas:
        if needed.get(quota.code, 0) > quota.vcpus:
            title = quota_title(quota.code, catalogue)
            return f"needs {needed[quota.code]} vCPU of quota {quota.code} ({title}), {quota.vcpus} are stated"
    return ""
