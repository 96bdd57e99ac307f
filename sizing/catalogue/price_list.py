"""Prices out of answers of the AWS Price List (``GetProducts``): which product is meant, and its first paid tier.

Usage types carry a prefix of the region (``USW2-NatGateway-Hours``) that some regions leave out; a query names them
without it. What is billed in tiers counts with the first tier that costs anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sizing.catalogue.files import dated_file
from sizing.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class PriceQuery:
    """What identifies one price: filters of the request, and what the answers are sorted by."""

    name: str
    service: str
    region_field: str = "regionCode"
    filters: Mapping[str, str] = field(default_factory=dict)
    usage: str = ""
    operation: str = ""
    divided_by: float = 1.0


def price_queries() -> tuple[PriceQuery, ...]:
    """Return the query of each price of ``prices.json``."""
    return tuple(PriceQuery(**row) for row in dated_file("price_queries")["prices"])


def instance_query(instance_type: str) -> PriceQuery:
    """Return the query of one instance type on demand: Linux, shared tenancy, nothing installed."""
    asked = dated_file("price_queries")["instances"]
    filters = {**asked["filters"], "instanceType": instance_type}
    return PriceQuery(name=instance_type, service=asked["service"], filters=filters)


def listed_price(products: Iterable[Mapping[str, Any]], query: PriceQuery) -> float | None:
    """Return the price in USD that ``products`` hold for ``query``, None without one; BadInput where they hold two."""
    found = {
        price
        for product in products
        if _meant(product, query) and (price := _first_paid(product)) is not None
    }  # fmt: skip
    if len(found) > 1:
        prices = ", ".join(f"{price:g}" for price in sorted(found))
        raise BadInput(query.name, f"the Price List holds several prices: {prices}", way_out="nothing is written")
    return round(found.pop() / query.divided_by, 10) if found else None


def _meant(product: Mapping[str, Any], query: PriceQuery) -> bool:
    attributes = product.get("product", {}).get("attributes", {})
    usage = str(attributes.get("usagetype", ""))
    named = not query.usage or usage == query.usage or usage.endswith(f"-{query.usage}")
    return named and (not query.operation or attributes.get("operation") == query.operation)


def _first_paid(product: Mapping[str, Any]) -> float | None:
    """Return the price of the lowest tier that is not free; None where nothing is asked in USD."""
    tiers = [
        (_number(tier.get("beginRange", 0)), _number(tier.get("pricePerUnit", {}).get("USD", 0)))
        for term in product.get("terms", {}).get("OnDemand", {}).values()
        for tier in term.get("priceDimensions", {}).values()
    ]
    paid = sorted((begin, price) for begin, price in tiers if price > 0)
    return paid[0][1] if paid else None


def _number(text: object) -> float:
    try:
        value = float(str(text))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0
