"""Branch and bound: parallel configurations that cannot be chosen are skipped; the search stays exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sizing.catalogue import Instance
from sizing.errors import BadInput
from sizing.nodes.pools import fleet_usd_per_hour, split_nodes
from sizing.plan import Bounds
from sizing.planning.search.engines import first_settings, ideal_rates
from sizing.planning.search.options import Market, Option, Search
from sizing.planning.search.parallel_configs import ParallelConfig, Rejected
from sizing.planning.search.rates import Rates
from sizing.planning.search.replicas import replicas_of


def beaten(config: ParallelConfig, market: Market, search: Search, keep: int) -> tuple[Rejected | None, Rates | None]:
    """Return the rejection where ``keep`` options beat a lower bound of this configuration's cost, else None; and its
    ideal rates where they were computed.
    """
    ideal: Rates | None = None
    if len({option.engine.name for option in search.options}) < keep:
        return None, ideal
    for bound in (Rates(math.inf), None):  # first as if one replica carried all traffic, then at the ideal rates
        try:
            rates = bound or ideal_rates(config, first_settings(config))
        except BadInput:
            return None, ideal
        ideal = rates if bound is None else ideal
        least = _least_costs(config, rates, market, search.machines) if rates.within > 0 else []
        if least and all(_loses(cost, search.options, keep) for cost in least):
            lowest = min(cost.expected for cost in least)
            best = min(search.options, key=lambda option: option.order)
            against = f"{best.usd_per_hour.expected:.2f} USD/h of {best.engine.name} on {best.instance.instance_type}"
            reason = f"dearer: at least {lowest:.2f} USD/h expected against {against}"
            return Rejected(option=config.name, kind="more-expensive", reason=reason), ideal
    return None, ideal


def _least_costs(
    config: ParallelConfig, rates: Rates, market: Market, machines: Mapping[str, Sequence[Instance]]
) -> list[Bounds]:
    """Return a lower bound of the cost on each instance type: one replica carries ``rates``."""
    gpus, costs = config.tensor_parallel * config.pipeline_parallel, []
    for instance in machines[config.gpu.name]:
        if instance.gpus >= gpus:
            replicas = replicas_of(config.entry, rates, instance.gpus // gpus, market.capacity.zones)
            if not isinstance(replicas, str):
                split = split_nodes(replicas, instance.gpus // gpus, market.capacity.spot_share)
                costs.append(fleet_usd_per_hour(split, (instance.offer(market.region),)))
    return costs


def _loses(least: Bounds, options: Sequence[Option], keep: int) -> bool:
    """Tell whether ``keep`` options are cheaper than ``least`` and one of them has no higher ceiling."""
    cheaper = [option for option in options if option.usd_per_hour.expected < least.expected - 1e-9]
    names = {option.engine.name for option in cheaper}
    return len(names) >= keep and any(option.ceiling_usd_per_hour <= least.ceiling for option in cheaper)
