"""The same workload at a hosted API: its cost there, and the break-even traffic of self-hosting.

    request    = (input tokens x ((1 - prefix share) x input price + prefix share x cached price)
               + output tokens x output price) / 10^6
    month      = request x mean requests/s x seconds of 730 hours
    break-even = requests/s of the busiest hour x self-hosted USD per month / month

Prices are dated public list prices in ``catalogue/hosted_prices.json``, USD per million tokens; a model without a row
is not compared. Latency, rate limits and data protection are not part of the comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizing.catalogue.files import dated_file
from sizing.units import HOURS_PER_MONTH, MILLION
from sizing.workload.workload import Workload

SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600


@dataclass(frozen=True, kw_only=True)
class HostedCost:
    """One host compared with the plan."""

    host: str
    host_model: str
    usd_per_million_input_tokens: float
    usd_per_million_output_tokens: float
    usd_per_month: float
    self_hosted_usd_per_month: float
    break_even_requests_per_s: float
    """Requests per second of the busiest hour at which the host costs as much as the plan."""
    most_requests_per_s: float
    """Requests per second that the planned replicas carry within the objectives."""
    date: str

    @property
    def self_hosting_pays(self) -> bool:
        """True when the plan costs no more than the host at the planned traffic."""
        return self.self_hosted_usd_per_month <= self.usd_per_month

    @property
    def sentence(self) -> str:
        """The comparison in one line."""
        prices = f"{self.usd_per_million_input_tokens:g}/{self.usd_per_million_output_tokens:g}"
        costs = (
            f"{self.host} ({prices} USD per million tokens in/out, {self.date}) would cost "
            f"{self.usd_per_month:,.0f} USD a month, self-hosting {self.self_hosted_usd_per_month:,.0f}"
        )
        even = f"{self.break_even_requests_per_s:.3g} requests/s"
        if self.self_hosting_pays:
            return f"{costs}: self-hosting pays from {even} on"
        if self.break_even_requests_per_s <= self.most_requests_per_s:
            return f"{costs}: self-hosting does not pay below {even}, which this fleet carries"
        return f"{costs}: self-hosting does not pay; break-even is {even}, this fleet carries {self._most}"

    @property
    def _most(self) -> str:
        return f"{self.most_requests_per_s:.3g}"


def hosted_rows(model: str) -> tuple[Mapping[str, Any], ...]:
    """Return the price rows of a model, by catalogue name; a quantised checkpoint has those of its base model."""
    facts = dated_file("hosted_prices")
    wanted = facts["same_weights"].get(model, model)
    return tuple(row for row in facts["rows"] if row["model"] == wanted)


def usd_per_request(row: Mapping[str, Any], workload: Workload) -> float:
    """Return USD of one mean request at a host; cached prompt tokens at the host's price for them, if it has one."""
    price = row["usd_per_million_input_tokens"]
    cached = row.get("usd_per_million_cached_input_tokens", price)
    prompt = price * (1 - workload.prefix_share) + cached * workload.prefix_share
    output = workload.output_tokens * row["usd_per_million_output_tokens"]
    return float((workload.input_tokens * prompt + output) / MILLION)


def hosted_costs(
    model: str, workload: Workload, self_hosted_usd_per_month: float, most_requests_per_s: float
) -> tuple[HostedCost, ...]:
    """Return the hosts that sell ``model``, cheapest for this workload first; empty when none is known."""
    costs = []
    for row in hosted_rows(model):
        each = usd_per_request(row, workload)
        month = each * workload.mean_requests_per_second * SECONDS_PER_MONTH
        if each <= 0:
            continue
        costs.append(
            HostedCost(
                host=row["host"],
                host_model=row["host_model"],
                usd_per_million_input_tokens=row["usd_per_million_input_tokens"],
                usd_per_million_output_tokens=row["usd_per_million_output_tokens"],
                usd_per_month=month,
                self_hosted_usd_per_month=self_hosted_usd_per_month,
                break_even_requests_per_s=workload.requests_per_second * self_hosted_usd_per_month / month,
                most_requests_per_s=most_requests_per_s,
                date=row["date"],
            )
        )
    return tuple(sorted(costs, key=lambda cost: (cost.usd_per_month, cost.host)))


def hosted_document(costs: tuple[HostedCost, ...]) -> dict[str, object] | None:
    """Return the comparison for a document; null when no host is known to sell the model."""
    if not costs:
        return None
    facts, cheapest = dated_file("hosted_prices"), costs[0]
    return {
        "says": cheapest.sentence,
        "self_hosting_pays": cheapest.self_hosting_pays,
        "self_hosted_usd_per_month": round(cheapest.self_hosted_usd_per_month, 2),
        "most_requests_per_s": round(cheapest.most_requests_per_s, 4),
        "hosts": [
            {
                "host": cost.host,
                "model": cost.host_model,
                "usd_per_million_input_tokens": cost.usd_per_million_input_tokens,
                "usd_per_million_output_tokens": cost.usd_per_million_output_tokens,
                "usd_per_month": round(cost.usd_per_month, 2),
                "break_even_requests_per_s": round(cost.break_even_requests_per_s, 4),
                "self_hosting_pays": cost.self_hosting_pays,
                "price_of": cost.date,
            }
            for cost in costs
        ],
        "data_of": facts["date"],
        "source": facts["source"],
    }
