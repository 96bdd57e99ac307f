"""An option with its price, what may be bought, and the result of a search."""

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
    """One engine on one instance type with replicas and nodes; ``ceiling_usd_per_hour`` includes disks and logs."""

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
        """Nodes at the ceiling by capacity type, as quotas count them."""
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
        """Sort key: expected cost, GPUs, idle replicas, ceiling cost on the planned type, floor cost, pipeline stages,
        more instance types, name.
        """
        idle = self.split.expected * self.per_node - self.replicas.expected
        name = f"{self.engine.name} {self.instance.instance_type}"
        stages, cost = self.engine.settings.pipeline_parallel, self.usd_per_hour
        most = round(self.split.ceiling * self.offers[0].on_demand_usd_per_hour, 9)
        return (round(cost.expected, 9), self.gpus, idle, most, cost.floor, stages, -len(self.offers), name)


@dataclass(frozen=True, kw_only=True)
class Market:
    """What may be bought, the region, and the catalogue with prices."""

    capacity: Capacity
    region: str
    catalogue: Catalogue


@dataclass(kw_only=True)
class Search:
    """Result of an enumeration."""

    options: list[Option] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    placed: bool = False
    """Whether an engine fits and meets the objectives; without options only an instance type is missing."""
    best_latency: BestLatency = field(default_factory=BestLatency)
    machines: dict[str, list[Instance]] = field(default_factory=dict)
    """By GPU, the instance types that enough zones sell, cheapest first."""
    configs: list[ParallelConfig] = field(default_factory=list)
    """Parallel configurations that one of these instance types holds."""
    rates: dict[ParallelKey, Rates] = field(default_factory=dict)
    """By configuration, the real rates or an upper bound of them; 0 where it cannot serve."""
