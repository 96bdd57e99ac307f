"""Fleets: the node pools of one model, or those that several models share.

``shared_fleets`` prices one set of candidates (ways to run a model on shared nodes) on one instance type;
``sizing.planning.sharing.fleet_search`` decides which sets to price.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sizing.cost.bill import disk_usd_per_hour
from sizing.nodes.pools import NodeSplit, fleet_usd_per_hour, pools_of, split_nodes
from sizing.nodes.quotas import quota_shortage
from sizing.nodes.shared_nodes import SharedDemand, nodes_in_any_order, parts, shared_disk, shared_nodes, summed
from sizing.plan import Bounds, Disk, InstanceOffer, NodePoolPlan, SharedNodes
from sizing.planning.search.options import Market, Option
from sizing.serving.pod import disk
from sizing.units import CENT

LEAST_SAVING = CENT
"""USD per hour that shared nodes must save; for less, models keep their own nodes."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Node pools and the models that run on them; ``ceiling_usd_per_hour`` includes disks and logs.

    In a shared fleet each option has the common split and offers, its own replicas, and its part of the cost.
    """

    models: tuple[str, ...]
    options: tuple[Option, ...]
    usd_per_hour: Bounds
    ceiling_usd_per_hour: float
    apart_usd_per_hour: Bounds
    """Cost of the cheapest own nodes of its models; its own cost where they are not shared."""
    candidates: tuple[SharedCandidate, ...] = ()
    """Of a shared fleet."""

    @property
    def shared(self) -> int:
        """Number of models that share the nodes; 0 for one model alone."""
        return len(self.models) if len(self.models) > 1 else 0

    @property
    def gpus(self) -> int:
        """GPUs bought at the planned traffic."""
        return self.options[0].gpus

    @property
    def split(self) -> NodeSplit:
        """Nodes by pool."""
        return self.options[0].split

    @property
    def disk(self) -> Disk:
        """Root volume of each node."""
        return shared_disk([disk(option.engine.pod, option.instance) for option in self.options])

    def option(self, model: str) -> Option:
        """Return the option of one of its models."""
        return self.options[self.models.index(model)]

    def beside(self, model: str) -> tuple[str, ...]:
        """Return the other models on the nodes of ``model``."""
        return tuple(name for name in self.models if name != model)

    def part(self, model: str) -> float:
        """Return a model's share of the expected cost."""
        whole = self.usd_per_hour.expected
        return self.option(model).usd_per_hour.expected / whole if self.shared and whole else 1.0

    @property
    def surge(self) -> int:
        """Extra pods of each model that fit on the nodes of the ceiling alongside the expected replicas (maxSurge)."""
        node_gpus = self.options[0].instance.gpus
        pods = [(option.engine.pod.gpus, option.replicas.expected + 1) for option in self.options]
        return 1 if nodes_in_any_order(pods, node_gpus) <= self.split.ceiling else 0

    def pools(self, name: str) -> tuple[NodePoolPlan, ...]:
        """Return the node pools; each name is ``name`` and what the pool is for."""
        option = self.options[0]
        return pools_of(
            name,
            self.models,
            option.engine.gpu,
            self.split,
            option.offers,
            zones=option.zones,
            disk=self.disk,
        )


@dataclass(frozen=True, kw_only=True)
class SharedCandidate:
    """One way to run a model on shared nodes: its option there, and its replicas not rounded to whole nodes."""

    model: str
    option: Option
    demand: SharedDemand
    fixed_usd_per_hour: float
    """Fixed cost of the model at the ceiling: what is not its nodes."""


def own_fleet(model: str, option: Option) -> Fleet:
    """Return the fleet of one model's option."""
    return Fleet(
        models=(model,),
        options=(option,),
        usd_per_hour=option.usd_per_hour,
        ceiling_usd_per_hour=option.ceiling_usd_per_hour,
        apart_usd_per_hour=option.usd_per_hour,
    )


def fleet_names(fleets: Sequence[Fleet]) -> dict[tuple[str, ...], str]:
    """Return the name of each fleet: its model, or ``shared-<gpu>``.

    Several shared fleets of one GPU are numbered in the order of their models' names; a model's name is never taken.
    """
    taken = {model for fleet in fleets for model in fleet.models}
    names: dict[tuple[str, ...], str] = {}
    for fleet in sorted(fleets, key=lambda fleet: fleet.models):
        if not fleet.shared:
            names[fleet.models] = fleet.models[0]
            continue
        base = f"shared-{fleet.options[0].engine.gpu.name.lower()}"
        numbered = (f"{base}-{number}" for number in itertools.count(2))
        names[fleet.models] = next(name for name in itertools.chain((base,), numbered) if name not in taken)
        taken.add(names[fleet.models])
    return names


def shared_nodes_of(fleets: Sequence[Fleet]) -> tuple[SharedNodes, ...]:
    """Return the shared fleets as parts of the plan, by name."""
    names = fleet_names(fleets)
    found = [
        SharedNodes(
            name=names[fleet.models],
            models=fleet.models,
            gpu=fleet.options[0].engine.gpu.name,
            instance_type=fleet.options[0].instance.instance_type,
            gpus_per_node=fleet.options[0].instance.gpus,
            pools=tuple(pool.name for pool in fleet.pools(names[fleet.models])),
            usd_per_hour=fleet.usd_per_hour,
            apart_usd_per_hour=fleet.apart_usd_per_hour,
        )
        for fleet in fleets
        if fleet.shared
    ]
    return tuple(sorted(found, key=lambda one: one.name))


def shared_fleets(
    candidates: Sequence[SharedCandidate], apart: Sequence[Option], market: Market, *, for_ceiling: bool
) -> Iterator[Fleet]:
    """Yield shared fleets of ``candidates``, all on one instance type: one that may also buy every other type that all
    of them allow, and one of that type alone.

    Only fleets with a lower expected cost than ``apart``, the cheapest own options of the models (``for_ceiling``: or
    with a lower ceiling), and within the declared quotas.
    """
    expected_below = sum(option.usd_per_hour.expected for option in apart) - LEAST_SAVING
    ceiling_below = sum(option.ceiling_usd_per_hour for option in apart) - LEAST_SAVING if for_ceiling else 0.0
    first, demands = candidates[0].option, [candidate.demand for candidate in candidates]
    nodes = shared_nodes(demands, first.instance.gpus)
    split = split_nodes(nodes, 1, market.capacity.spot_share)
    common = [offer for offer in first.offers if all(offer in candidate.option.offers for candidate in candidates)]
    for offers in {len(common): tuple(common), 1: first.offers[:1]}.values():
        cost = fleet_usd_per_hour(split, offers)
        if cost.expected >= expected_below and cost.ceiling >= ceiling_below:
            continue
        fleet = _fleet(candidates, apart, market, split=split, offers=offers, cost=cost)
        purchases = fleet.options[0].purchases
        wanted = fleet.usd_per_hour.expected < expected_below or fleet.ceiling_usd_per_hour < ceiling_below
        if wanted and not quota_shortage(market.capacity, purchases, market.catalogue):
            yield fleet


def _fleet(
    candidates: Sequence[SharedCandidate], apart: Sequence[Option], market: Market, *,
    split: NodeSplit, offers: tuple[InstanceOffer, ...], cost: Bounds,
) -> Fleet:  # fmt: skip
    demands = [candidate.demand for candidate in candidates]
    volumes = shared_disk([disk(candidate.option.engine.pod, candidate.option.instance) for candidate in candidates])
    fixed = split.ceiling * disk_usd_per_hour(volumes, market.region, market.catalogue)
    fixed += sum(candidate.fixed_usd_per_hour for candidate in candidates)
    options = tuple(
        replace(
            candidate.option, offers=offers, replicas=candidate.demand.replicas, split=split, usd_per_hour=part,
            ceiling_usd_per_hour=part.ceiling + candidate.fixed_usd_per_hour,
        )
        for candidate, part in zip(candidates, parts(cost, demands), strict=True)
    )  # fmt: skip
    return Fleet(
        models=tuple(candidate.model for candidate in candidates),
        options=options,
        usd_per_hour=cost,
        ceiling_usd_per_hour=cost.ceiling + fixed,
        apart_usd_per_hour=summed(option.usd_per_hour for option in apart),
        candidates=tuple(candidates),
    )
