"""Lines of the bill that depend on traffic: load balancer capacity, transfer between zones and to the internet.

    GB/h      = requests/h x (input tokens x bytes each + output tokens x bytes each) / 10^9
    LCU       = max(GB/h / GB/h of one capacity unit, 1)
    zones     = GB/h x hops x (zones - 1) / zones x 2 x price per GB and direction
    internet  = GB/h of output tokens x price per GB

Bytes per token, hops and capacity units are in the block ``transfer`` of ``catalogue/serving.json``. Prices are USD per
hour.
"""

from __future__ import annotations

from dataclasses import dataclass

from sizing.catalogue import Catalogue
from sizing.catalogue.files import serving_facts
from sizing.inputs import ModelEntry
from sizing.plan import BillLine, Bounds
from sizing.units import SECONDS_PER_HOUR


@dataclass(frozen=True, kw_only=True)
class StackTraffic:
    """Traffic of a serving stack: models with workloads, number of zones, and whether callers are outside AWS."""

    entries: tuple[ModelEntry, ...] = ()
    zones: int = 1
    internet_facing: bool = False


def constant(usd_per_hour: float) -> Bounds:
    """A cost that does not depend on traffic."""
    return Bounds(floor=usd_per_hour, expected=usd_per_hour, ceiling=usd_per_hour)


def _scaled(bounds: Bounds, factor: float, least: float = 0.0) -> Bounds:
    return Bounds(
        floor=max(bounds.floor * factor, least),
        expected=max(bounds.expected * factor, least),
        ceiling=max(bounds.ceiling * factor, least),
    )


def gb_per_hour(entries: tuple[ModelEntry, ...], *, answers_only: bool = False) -> Bounds:
    """Return GB per hour of prompts and answers at floor, expected and ceiling."""
    facts = serving_facts("transfer")
    floor = expected = ceiling = 0.0
    for entry in entries:
        load = entry.workload
        size = load.output_tokens * facts["bytes_per_output_token"]
        size += 0 if answers_only else load.input_tokens * facts["bytes_per_input_token"]
        each = load.requests_per_second * SECONDS_PER_HOUR * size / 1e9
        floor += 0.0 if entry.scale_to_zero else each * load.minimum_share
        expected += load.mean_requests_per_second * SECONDS_PER_HOUR * size / 1e9
        ceiling += each * load.peak_factor
    return Bounds(floor=floor, expected=expected, ceiling=ceiling)


def traffic_lines(traffic: StackTraffic, region: str, catalogue: Catalogue) -> tuple[BillLine, ...]:
    """Return the lines for the traffic of a stack; without traffic, one load balancer with one capacity unit."""
    facts, carried = serving_facts("transfer"), gb_per_hour(traffic.entries)
    units = _scaled(carried, 1 / facts["lcu_gb_per_hour"], least=1.0)
    hourly = catalogue.price("network_load_balancer_usd_per_hour", region)
    each = catalogue.price("network_load_balancer_usd_per_lcu_hour", region)
    cost = Bounds(
        floor=hourly + each * units.floor,
        expected=hourly + each * units.expected,
        ceiling=hourly + each * units.ceiling,
    )
    lcu = f"{units.floor:.1f}/{units.expected:.1f}/{units.ceiling:.1f}"
    lines = [BillLine(name="load balancer", usd_per_hour=cost, rule=f"one NLB with {lcu} capacity units")]
    if traffic.zones > 1 and carried.ceiling > 0:
        share = facts["hops"] * (traffic.zones - 1) / traffic.zones
        price = 2 * catalogue.price("cross_zone_usd_per_gb", region)
        rule = f"{carried.expected:.2f} GB/h expected, {facts['hops']} hops over {traffic.zones} zones, both directions"
        lines.append(BillLine(name="transfer between zones", usd_per_hour=_scaled(carried, share * price), rule=rule))
    if traffic.internet_facing and carried.ceiling > 0:
        out = gb_per_hour(traffic.entries, answers_only=True)
        price = catalogue.price("internet_egress_usd_per_gb", region)
        rule = f"{out.expected:.2f} GB/h of answers expected"
        lines.append(BillLine(name="transfer to the internet", usd_per_hour=_scaled(out, price), rule=rule))
    return tuple(lines)
