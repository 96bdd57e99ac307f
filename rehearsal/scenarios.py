"""What can go wrong in a zone or on the spot market, played on the simulated nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rehearsal.karpenter.offers import CloudMarket
from rehearsal.simulated.pods import Document
from rehearsal.upgrades import UPGRADES
from sizing.errors import BadInput
from sizing.nodes.labels import GPU_RESOURCE, ZONE_ID_LABEL
from sizing.nodes.shared_nodes import nodes_in_any_order
from sizing.plan import NodePoolPlan, ServingPlan, StackPlan

NOTICE_S = 120
"""AWS announces the end of a spot instance two minutes before (EC2 User Guide, Spot interruption notices)."""
CAPACITY_LABEL = "karpenter.sh/capacity-type"


@dataclass(frozen=True, kw_only=True)
class Disruption:
    """What a scenario does: which nodes go, and what can be bought afterwards."""

    what: str
    nodes: tuple[str, ...]
    market: CloudMarket


def spot_reclaim(nodes: Sequence[Document], market: CloudMarket) -> Disruption:
    """AWS takes every spot node back and sells no more."""
    gone = [one for one in nodes if (one["metadata"].get("labels") or {}).get(CAPACITY_LABEL) == "spot"]
    return Disruption(
        what=f"{len(gone)} spot nodes reclaimed with {NOTICE_S} s notice, no spot capacity afterwards",
        nodes=tuple(sorted(one["metadata"]["name"] for one in gone)),
        market=market.without_spot(),
    )


def zone_loss(nodes: Sequence[Document], market: CloudMarket) -> Disruption:
    """The zone with most GPU nodes fails and sells nothing; on ties the first by name."""
    zones: dict[str, list[str]] = {}
    gpu_zones: dict[str, int] = {}
    for node in nodes:
        zone = (node["metadata"].get("labels") or {}).get(ZONE_ID_LABEL, "")
        zones.setdefault(zone, []).append(node["metadata"]["name"])
        gpu_zones[zone] = gpu_zones.get(zone, 0) + (GPU_RESOURCE in (node["status"].get("allocatable") or {}))
    lost = min(zones, key=lambda zone: (-gpu_zones[zone], zone))
    return Disruption(
        what=f"zone {lost} lost with {len(zones[lost])} nodes",
        nodes=tuple(sorted(zones[lost])),
        market=market.without_zone(lost),
    )


SCENARIOS: Mapping[str, Callable[[Sequence[Document], CloudMarket], Disruption]] = {
    "spot-reclaim": spot_reclaim,
    "zone-loss": zone_loss,
}


def scenario_named(name: str) -> Callable[[Sequence[Document], CloudMarket], Disruption]:
    """Return the scenario; BadInput lists those that exist."""
    if name not in SCENARIOS:
        raise BadInput(
            "--scenario", f"{name!r} is unknown", way_out=f"there are: {', '.join(sorted([*SCENARIOS, *UPGRADES]))}"
        )
    return SCENARIOS[name]


def sharing(plan: StackPlan) -> list[tuple[ServingPlan, ...]]:
    """Return the models of the plan, those on the same pools together, in the plan's order."""
    groups: dict[tuple[str, ...], tuple[ServingPlan, ...]] = {}
    for model in plan.models:
        groups[model.pools] = (*groups.get(model.pools, ()), model)
    return list(groups.values())


def places_left(
    plan: StackPlan,
    models: Sequence[ServingPlan],
    wanted: Mapping[str, int],
    disruption: Disruption,
    market: CloudMarket,
) -> tuple[int, int]:
    """Return the fewest and the most of the wanted replicas that can still run after the disruption.

    Counted from the limits of the pools of ``models`` alone. Where not all replicas fit, the scheduler decides which
    stay Pending: the most run when the smallest pods are placed first, the fewest when the largest are placed first
    and a node counts as full once fewer GPUs are free than the largest pod asks for.
    """
    pools = [pool for pool in plan.pools if pool.name in models[0].pools]
    nodes = sum(_nodes_left(pool, disruption, market) for pool in pools)
    pods = sorted((model.resources.gpus, wanted[model.name]) for model in models)
    if nodes_in_any_order(pods, pools[0].offers[0].gpus) <= nodes:
        return sum(count for _, count in pods), sum(count for _, count in pods)
    narrow, wide, each = pods[0][0], pods[-1][0], pools[0].offers[0].gpus
    return _placed(reversed(pods), nodes * (each - wide + narrow)), _placed(pods, nodes * each)


def _placed(pods: Iterable[tuple[int, int]], gpus: int) -> int:
    """Return how many of ``pods`` (GPUs, count) fit on ``gpus`` when they are placed in this order."""
    placed = 0
    for width, count in pods:
        taken = min(count, gpus // width)
        placed, gpus = placed + taken, gpus - taken * width
    return placed


def _nodes_left(pool: NodePoolPlan, disruption: Disruption, market: CloudMarket) -> int:
    """Return the most nodes that the pool may have after the disruption.

    A managed node group loses its nodes in a lost zone: EKS replaces them in the other zones only if there is capacity,
    which a plan must not count on. A NodePool may buy up to its limit in any zone and capacity type still sold: a spot
    pool with a fallback on demand.
    """
    if pool.kind == "managed":
        lost = sum(1 for name in disruption.nodes if name.startswith(f"{pool.name}-"))
        return max(0, pool.floor_instances - lost)
    if disruption.market.spot_closed and pool.capacity_type == "spot" and pool.fallback_capacity_type is None:
        return 0
    sold = any(
        zone not in disruption.market.closed_zones
        for offer in pool.offers
        for zone in pool.zones
        if zone in market.catalogue.instance(offer.instance_type).zone_ids.get(market.region, ())
    )
    return pool.ceiling_instances if sold else 0
