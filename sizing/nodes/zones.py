"""Availability zones of a region: which ones a network gets, and which of them sell an instance type."""

from __future__ import annotations

from functools import lru_cache

from sizing.catalogue import Catalogue, Instance
from sizing.catalogue.files import serving_facts


@lru_cache(maxsize=16)
def network_zones(region: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the zone ids of ``region`` that may hold EKS subnets, those that sell most GPU types first.

    A network of N zones takes the first N, a pool the first N that sell its type: so a plan and a network made apart
    agree on zones.
    """
    excluded = serving_facts("zones")["without_eks_subnets"]
    sold = [instance.zone_ids.get(region, ()) for instance in catalogue.all_instances if instance.gpus]
    zones = [zone for zone in catalogue.region(region).zone_ids if zone not in excluded]
    return tuple(sorted(zones, key=lambda zone: (-sum(zone in offered for offered in sold), zone)))


def zones_of(instance: Instance, region: str, catalogue: Catalogue) -> tuple[str, ...]:
    """Return the zones of ``network_zones`` that sell ``instance``, in that order."""
    sold = instance.zone_ids.get(region, ())
    return tuple(zone for zone in network_zones(region, catalogue) if zone in sold)
