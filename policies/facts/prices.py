"""Instance types and prices from the dated catalogue; None where it has none."""

from __future__ import annotations

from dataclasses import dataclass

import sizing.cost.bill
from sizing.catalogue import Instance, load_catalogue
from sizing.catalogue.files import serving_facts
from sizing.errors import BadInput
from sizing.units import HOURS_PER_MONTH


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An instance type: the catalogue's and Karpenter's name of its GPU, GPUs per instance (0: none)."""

    gpu: str
    karpenter_name: str
    gpus: int


def _instance(instance_type: str) -> Instance | None:
    try:
        return load_catalogue().instance(instance_type)
    except BadInput:
        return None


def machine(instance_type: str) -> Machine | None:
    """Describe an instance type; None when the catalogue does not have it."""
    found = _instance(instance_type)
    if found is None:
        return None
    name = load_catalogue().gpu(found.gpu).karpenter_name if found.gpus else ""
    return Machine(gpu=found.gpu, karpenter_name=name, gpus=found.gpus)


def on_demand_usd_per_hour(instance_type: str, region: str) -> float | None:
    """On-demand price in USD per hour; None when the region does not sell the type."""
    found = _instance(instance_type)
    if found is None or region not in found.on_demand_usd_per_hour:
        return None
    return found.offer(region).on_demand_usd_per_hour


def is_priced(region: str) -> bool:
    """Whether the catalogue has prices of the region; where it has none, no ceiling can be computed."""
    return any(known.name == region for known in load_catalogue().regions)


def fixed_price(name: str, region: str) -> float:
    """A price of ``sizing/catalogue/prices.json``; BadInput names the nearest ones for an unknown name or region."""
    return load_catalogue().price(name, region)


def memory_usd_per_gib_hour(region: str) -> float:
    """USD per GiB and hour of the cheapest system nodes."""
    return sizing.cost.bill.memory_usd_per_gib_hour(region, load_catalogue())


def log_usd_per_replica_hour(region: str) -> float:
    """USD per hour of the logs that one replica of a model writes."""
    month = float(serving_facts("logs")["gb_per_replica_month"]) * fixed_price("cloudwatch_logs_usd_per_gb", region)
    return month / HOURS_PER_MONTH
