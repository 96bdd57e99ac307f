"""Node pools of one model, or of models that share them: the on-demand floor, spot, and on-demand burst above it.

    floor   = ceil(replicas at the floor / replicas per node)                      always on, on demand
    above   = ceil(replicas / replicas per node) - floor                           bought by Karpenter
    spot    = ceil(above x spot share), burst = above - spot
    ceiling = ceiling nodes x highest on-demand price of the pool's offers         a pool buys nothing else

Where spot is not sold the spot pool buys on demand: within its own limit, so the ceiling stays what it is, whatever
the market does. A burst pool with room for the spot nodes beside it would let both pools buy them.

Rounding up to spot means that nodes bought together are never more on spot than bought apart
(``sizing.planning.sharing.candidates`` relies on it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sizing.catalogue import Gpu
from sizing.nodes.labels import GPU_RESOURCE, POOL_LABEL
from sizing.plan import Bounds, CapacityType, Disk, InstanceOffer, NodePoolPlan, Replicas

TAINT_VALUE = "present"


@dataclass(frozen=True, kw_only=True)
class NodeSplit:
    """Nodes by pool: always on (floor), and in the busiest hour (expected), at most (ceiling), over the day (mean)."""

    floor: int
    spot_expected: int
    spot_ceiling: int
    burst_expected: int
    burst_ceiling: int
    spot_mean: float
    burst_mean: float

    @property
    def ceiling(self) -> int:
        """Nodes at the most traffic."""
        return self.floor + self.spot_ceiling + self.burst_ceiling

    @property
    def expected(self) -> int:
        """Nodes in the busiest hour."""
        return self.floor + self.spot_expected + self.burst_expected

    @property
    def mean(self) -> float:
        """Nodes on average over the day."""
        return self.floor + self.spot_mean + self.burst_mean


def split_nodes(replicas: Replicas, per_node: int, spot_share: float) -> NodeSplit:
    """Return the nodes of each pool for these replicas."""
    floor = math.ceil(replicas.floor / per_node)

    def above(count: int) -> tuple[int, int]:
        nodes = math.ceil(count / per_node) - floor
        spot = math.ceil(nodes * spot_share - 1e-9)
        return spot, nodes - spot

    (spot_expected, burst_expected), (spot_ceiling, burst_ceiling) = above(replicas.expected), above(replicas.ceiling)
    by_hour = [above(count) for count in replicas.hours]
    return NodeSplit(
        floor=floor,
        spot_expected=spot_expected,
        spot_ceiling=spot_ceiling,
        burst_expected=burst_expected,
        burst_ceiling=burst_ceiling,
        spot_mean=sum(spot for spot, _ in by_hour) / len(by_hour),
        burst_mean=sum(burst for _, burst in by_hour) / len(by_hour),
    )


def highest_price(offers: Sequence[InstanceOffer]) -> float:
    """Highest on-demand price of the offers, USD per hour."""
    return max(offer.on_demand_usd_per_hour for offer in offers)


def fleet_usd_per_hour(split: NodeSplit, offers: Sequence[InstanceOffer]) -> Bounds:
    """USD per hour of all nodes; the first offer is the primary one."""
    primary = offers[0].on_demand_usd_per_hour
    floor = split.floor * primary
    expected = floor + split.spot_mean * offers[0].spot_usd_per_hour + split.burst_mean * primary
    ceiling = floor + (split.spot_ceiling + split.burst_ceiling) * highest_price(offers)
    return Bounds(floor=floor, expected=expected, ceiling=ceiling)


def pools_of(
    name: str,
    models: tuple[str, ...],
    gpu: Gpu,
    split: NodeSplit,
    offers: tuple[InstanceOffer, ...],
    *,
    zones: tuple[str, ...],
    disk: Disk,
) -> tuple[NodePoolPlan, ...]:
    """Return the pools of ``models``, named ``name`` and suffix: floor, spot, burst in order of preference.

    Empty ones are left out.
    """

    def pool(
        suffix: str,
        kind: Literal["managed", "karpenter"],
        capacity_type: CapacityType,
        counts: tuple[int, int, float, int],
    ) -> NodePoolPlan:
        floor, expected, mean, ceiling = counts
        price = offers[0].usd_per_hour(capacity_type)
        bought = offers[:1] if kind == "managed" else offers
        return NodePoolPlan(
            name=f"{name}-{suffix}",
            kind=kind,
            capacity_type=capacity_type,
            gpu=gpu.name,
            karpenter_gpu_name=gpu.karpenter_name,
            offers=bought,
            zones=zones,
            floor_instances=floor,
            expected_instances=expected,
            mean_instances=mean,
            ceiling_instances=ceiling,
            gpu_limit=ceiling * offers[0].gpus,
            labels={POOL_LABEL: f"{name}-{suffix}"},
            taint_key=GPU_RESOURCE,
            taint_value=TAINT_VALUE,
            disk=disk,
            models=models,
            usd_per_hour=Bounds(floor=floor * price, expected=mean * price, ceiling=ceiling * highest_price(bought)),
            fallback_capacity_type="on-demand" if capacity_type == "spot" else None,
        )

    spot = (0, split.spot_expected, split.spot_mean, split.spot_ceiling)
    burst = (0, split.burst_expected, split.burst_mean, split.burst_ceiling)
    made = (
        pool("floor", "managed", "on-demand", (split.floor, split.floor, split.floor, split.floor)),
        pool("spot", "karpenter", "spot", spot),
        pool("burst", "karpenter", "on-demand", burst),
    )
    return tuple(one for one in made if one.ceiling_instances > 0)


def gpu_quota(pools: Sequence[NodePoolPlan]) -> int:
    """Return the GPUs that the pods of the stack may ask for together: the limits of all its pools."""
    return sum(pool.gpu_limit for pool in pools)
