"""What machines are and cost, from the dated catalogue; None where the catalogue does not know."""

from __future__ import annotations

from dataclasses import dataclass

from sizing.catalogue import Instance, load_catalogue
from sizing.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An instance type: GPU name of the catalogue, Karpenter's name of it, GPUs per machine (0: none)."""

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
    """On-demand price in USD per hour; None when there is no such machine in the region."""
    found = _instance(instance_type)
    if found is None or region not in found.on_demand_usd_per_hour:
        return None
    return found.offer(region).on_demand_usd_per_hour


def fixed_price(name: str, region: str) -> float:
    """A price of ``sizing/catalogue/prices.json``; 0 for a region without prices, where pools are refused anyway."""
    try:
        return load_catalogue().price(name, region)
    except BadInput:
        return 0.0
