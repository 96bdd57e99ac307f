"""Cost of the floor under other purchase terms: savings plans, reservations, Capacity Blocks.

    break-even hours per month = rate / on demand x 730
    break-even months          = rate / on demand x months of the term

Only the floor runs every hour, so only it is worth a commitment. Rates are dated data in
``catalogue/purchase_terms.json``; a term without a rate for an instance type is listed as unpriced. Prices are USD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sizing.catalogue.files import dated_file
from sizing.plan import NodePoolPlan
from sizing.units import HOURS_PER_MONTH


@dataclass(frozen=True, kw_only=True)
class TermCost:
    """The floor under one term."""

    name: str
    title: str
    months: int
    usd_per_hour: float
    saving_share: float
    """1 - rate / on demand, for the floor's nodes."""
    break_even_hours_per_month: float
    """Hours of use a month above which the term is cheaper than on demand."""
    break_even_months: float
    """Months of use below which on demand is cheaper; 0 without a commitment."""
    guarantees_capacity: bool
    at_best: bool
    """True where only the largest discount is published: a lower bound of the cost, not a quote."""
    note: str


@dataclass(frozen=True, kw_only=True)
class PurchaseTerms:
    """The floor of some pools, its on-demand price, and its cost under other terms."""

    nodes: Mapping[str, int]
    on_demand_usd_per_hour: float
    terms: tuple[TermCost, ...]
    unpriced: tuple[tuple[str, str], ...]
    """(title, reason) of the terms that have no rate for these types."""


def _rate(term: Mapping[str, Any], instance_type: str, gpus: int, on_demand: float, region: str) -> float | None:
    """USD per hour of one node under a term; None where there is no rate."""
    if term["rate"] == "on-demand":
        return on_demand
    if term["rate"] == "at-best":
        return float(on_demand * (1 - term["at_best_discount"]))
    for row in dated_file("purchase_terms")["rates"]:
        if row["term"] == term["rate"] and row["instance_type"] == instance_type:
            if "usd_per_gpu_hour" in row:
                return float(row["usd_per_gpu_hour"] * gpus)
            price = row["usd_per_hour"].get(region)
            return None if price is None else float(price)
    return None


def purchase_terms(pools: Sequence[NodePoolPlan], region: str) -> PurchaseTerms | None:
    """Return the terms for the on-demand floor of ``pools``; None when there is no floor to commit."""
    floors = [pool for pool in pools if pool.capacity_type == "on-demand" and pool.floor_instances > 0]
    if not floors:
        return None
    nodes: dict[str, int] = {}
    for pool in floors:
        nodes[pool.offers[0].instance_type] = nodes.get(pool.offers[0].instance_type, 0) + pool.floor_instances
    offers = {pool.offers[0].instance_type: pool.offers[0] for pool in floors}
    on_demand = sum(count * offers[name].on_demand_usd_per_hour for name, count in nodes.items())
    costs, unpriced = [], []
    for term in dated_file("purchase_terms")["terms"]:
        rates = {
            name: _rate(term, name, offer.gpus, offer.on_demand_usd_per_hour, region) for name, offer in offers.items()
        }
        missing = sorted(name for name, rate in rates.items() if rate is None)
        if missing:
            unpriced.append((str(term["title"]), f"no rate in the catalogue for {', '.join(missing)} in {region}"))
            continue
        costs.append(_cost(term, sum(count * (rates[name] or 0.0) for name, count in nodes.items()), on_demand))
    return PurchaseTerms(
        nodes=dict(sorted(nodes.items())),
        on_demand_usd_per_hour=on_demand,
        terms=tuple(costs),
        unpriced=tuple(unpriced),
    )


def _cost(term: Mapping[str, Any], usd_per_hour: float, on_demand: float) -> TermCost:
    ratio = usd_per_hour / on_demand
    return TermCost(
        name=term["name"],
        title=term["title"],
        months=term["months"],
        usd_per_hour=usd_per_hour,
        saving_share=1 - ratio,
        break_even_hours_per_month=0.0 if term["name"] == "on-demand" else ratio * HOURS_PER_MONTH,
        break_even_months=ratio * term["months"],
        guarantees_capacity=term["guarantees_capacity"],
        at_best=term["rate"] == "at-best",
        note=term["note"],
    )


def purchase_document(terms: PurchaseTerms | None) -> dict[str, object] | None:
    """Return the terms for a document; null when there is no floor to commit."""
    if terms is None:
        return None
    facts = dated_file("purchase_terms")
    return {
        "covers": "the on-demand floor",
        "nodes": dict(terms.nodes),
        "on_demand_usd_per_month": round(terms.on_demand_usd_per_hour * HOURS_PER_MONTH, 2),
        "terms": [
            {
                "name": term.name,
                "title": term.title,
                "months": term.months,
                "usd_per_hour": round(term.usd_per_hour, 4),
                "usd_per_month": round(term.usd_per_hour * HOURS_PER_MONTH, 2),
                "saving_share": round(term.saving_share, 4),
                "break_even_hours_per_month": round(term.break_even_hours_per_month, 1),
                "break_even_months": round(term.break_even_months, 1),
                "guarantees_capacity": term.guarantees_capacity,
                "at_best": term.at_best,
                "note": term.note,
            }
            for term in terms.terms
        ],
        "unpriced": [{"title": title, "reason": reason} for title, reason in terms.unpriced],
        "data_of": facts["date"],
        "source": facts["source"],
    }
