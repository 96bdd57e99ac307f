"""What can go wrong in a zone or on the spot market, played on the simulated nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rehearsal.pods import Document
from rehearsal.pools import Market
from rehearsal.provisioner import with_spot_closed, with_zone_closed
from sizing.errors import BadInput
from sizing.plan import NodePoolPlan, ServingPlan, StackPlan

NOTICE_S = 120
"""AWS announces the end of a spot instance two minutes before (EC2 User Guide, Spot interruption notices)."""
CAPACITY_LABEL = "karpenter.sh/capacity-type"
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, kw_only=True)
class Blow:
    """What a scenario does: which nodes go, and what can be bought afterwards."""

    what: str
    nodes: tuple[str, ...]
    market: Market


def spot_reclaim(nodes: Sequence[Document], market: Market) -> Blow:
    """AWS takes every spot node back and sells no more."""
    gone = [one for one in nodes if (one["metadata"].get("labels") or {}).get(CAPACITY_LABEL) == "spot"]
    return Blow(
        what=f"{len(gone)} spot nodes reclaimed with {NOTICE_S} s notice, no spot capacity afterwards",
        nodes=tuple(sorted(one["metadata"]["name"] for one in gone)),
        market=with_spot_closed(market),
    )


def zone_loss(nodes: Sequence[Document], market: Market) -> Blow:
    """The zone with most GPU nodes fails and sells nothing; of equals the first by name."""
    zones: dict[str, list[str]] = {}
    gpu_zones: dict[str, int] = {}
    for node in nodes:
        zone = (node["metadata"].get("labels") or {}).get(ZONE_LABEL, "")
        zones.setdefault(zone, []).append(node["metadata"]["name"])
        gpu_zones[zone] = gpu_zones.get(zone, 0) + ("nvidia.com/gpu" in (node["status"].get("allocatable") or {}))
    lost = min(zones, key=lambda zone: (-gpu_zones[zone], zone))
    return Blow(
        what=f"zone {lost} lost with {len(zones[lost])} nodes",
        nodes=tuple(sorted(zones[lost])),
        market=with_zone_closed(market, lost),
    )


SCENARIOS: Mapping[str, Callable[[Sequence[Document], Market], Blow]] = {
    "spot-reclaim": spot_reclaim,
    "zone-loss": zone_loss,
}


def scenario_named(name: str) -> Callable[[Sequence[Document], Market], Blow]:
    """Return the scenario; BadInput lists those that exist."""
    if name not in SCENARIOS:
        raise BadInput("--scenario", f"{name!r} is unknown", way_out=f"there are: {', '.join(sorted(SCENARIOS))}")
    return SCENARIOS[name]


def places_left(plan: StackPlan, model: ServingPlan, blow: Blow, market: Market) -> int:
    """Replicas that the plan's pools can still run after the blow, counted from their limits alone.

    A managed node group loses the nodes of a lost zone: EKS would replace them in the zones that are left only once
    there is capacity, which a plan must not count on. A NodePool may buy up to its limit wherever it may still buy.
    """
    return sum(_pool_places(pool, model, blow, market) for pool in plan.pools if pool.name in model.pools)


def _pool_places(pool: NodePoolPlan, model: ServingPlan, blow: Blow, market: Market) -> int:
    per_node = model.replicas_per_instance
    if pool.kind == "managed":
        lost = sum(1 for name in blow.nodes if name.startswith(f"{pool.name}-"))
        return max(0, pool.floor_instances - lost) * per_node
    if blow.market.spot_closed and pool.capacity_type == "spot":
        return 0
    sold = any(
        zone not in blow.market.closed_zones
        for offer in pool.offers
        for zone in pool.zones
        if zone in market.catalogue.instance(offer.instance_type).zone_ids.get(market.region, ())
    )
    return pool.ceiling_instances * per_node if sold else 0
