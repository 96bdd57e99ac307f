"""An option with its price, the market that it is bought on, and the search's record of what was tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from sizing.catalogue import Catalogue, Instance
from sizing.inputs import Capacity
from sizing.nodes.pools import NodeSplit
from sizing.nodes.quotas import Purchase
from sizing.plan import Bounds, InstanceOffer, Replicas
from sizing.planning.search.engines import BestLatency, Engine
from sizing.planning.search.parallel_configs import ParallelConfig, ParallelKey, Rejected
from sizing.planning.search.rates import Rates


@dataclass(frozen=True, kw_only=True)
class Option:
    """One engine on one instance type with its replicas and nodes; ``ceiling_usd_per_hour`` has disks and logs."""

    engine: Engine
    instance: Instance
    offers: tuple[InstanceOffer, ...]
    per_node: int
    replicas: Replicas
    split: NodeSplit
    usd_per_hour: Bounds
    ceiling_usd_per_hour: float
    zones: tuple[str, ...]

    @property
    def purchases(self) -> tuple[Purchase, ...]:
        """Nodes at the most traffic by capacity type, as quotas count them."""
        split = self.split
        return (
            Purchase(capacity_type="on-demand", nodes=split.floor, offers=self.offers[:1]),
            Purchase(capacity_type="on-demand", nodes=split.burst_ceiling, offers=self.offers),
            Purchase(capacity_type="spot", nodes=split.spot_ceiling, offers=self.offers),
        )

    @property
    def gpus(self) -> int:
        """GPUs bought at the planned traffic."""
        return self.split.expected * self.instance.gpus

    @cached_property
    def order(self) -> tuple[float, int, int, float, float, int, int, str]:
        """Cheapest expected first, then fewer GPUs, no idle ones, less at the most traffic on the planned type, lower
        floor, no pipeline, more spot types, name.
        """
        idle = self.split.expected * self.per_node - self.replicas.expected
        name = f"{self.engine.name} {self.instance.instance_type}"
        stages, cost = self.engine.settings.pipeline_parallel, self.usd_per_hour
        most = round(self.split.ceiling * self.offers[0].on_demand_usd_per_hour, 9)
        return (round(cost.expected, 9), self.gpus, idle, most, cost.floor, stages, -len(self.offers), name)


@dataclass(frozen=True, kw_only=True)
class Market:
    """Which machines may be bought, where, and what is known of them."""

    capacity: Capacity
    region: str
    catalogue: Catalogue


@dataclass(kw_only=True)
class Search:
    """What an enumeration found."""

    options: list[Option] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    placed: bool = False
    """At least one engine fits and meets the objectives; what is missing is a machine."""
    best_latency: BestLatency = field(default_factory=BestLatency)
    machines: dict[str, list[Instance]] = field(default_factory=dict)
    """Those that enough zones sell by GPU, cheapest first."""
    configs: list[ParallelConfig] = field(default_factory=list)
    """All that some of these machines hold."""
    rates: dict[ParallelKey, Rates] = field(default_factory=dict)
    """What no settings of a config exceed, where it was looked at; 0 where it cannot serve."""
