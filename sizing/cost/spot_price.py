"""The price that a plan pays for a spot node."""

from __future__ import annotations

from sizing.catalogue import Instance
from sizing.catalogue.files import serving_facts
from sizing.plan import InstanceOffer


def planned_spot_price(offer: InstanceOffer) -> float:
    """USD per hour to plan with: the snapshot's price plus the volatility margin, at most on demand."""
    if offer.spot_usd_per_hour is None:
        return offer.on_demand_usd_per_hour
    margin = 1 + float(serving_facts("spot")["volatility_margin"])
    return min(offer.spot_usd_per_hour * margin, offer.on_demand_usd_per_hour)


def spot_price(instance: Instance, region: str) -> float:
    """USD per hour to plan with on spot: median of the zones plus the volatility margin, at most on demand.

    Where the snapshot has no price, the smallest discount seen in the family; where it has no family either, the
    on-demand price.
    """
    facts, on_demand = serving_facts("spot"), instance.on_demand_usd_per_hour[region]
    seen = instance.spot_price(region)
    if seen is None:
        seen = on_demand * (1 - facts["family_discount"].get(instance.instance_type.split(".")[0], 0.0))
    return float(min(seen * (1 + facts["volatility_margin"]), on_demand))
