"""The price files of the catalogue written anew from what AWS answers today, and what that changes.

Pure: ``cli.adapters.aws`` asks, this module judges. A partial answer is refused as a whole: a type that zones still
offer must keep its price, a region that had spot prices must have some, each fixed price must be there. Machines are
compared: other processors, memory or GPUs under a known name would need other sizes, so that is refused too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sizing.errors import BadInput

WHERE = "catalogue refresh"
UNWRITTEN = "nothing is written; try again later, or read the prices by hand"
SOURCE = (
    "EC2 DescribeInstanceTypes, DescribeInstanceTypeOfferings and DescribeSpotPriceHistory, Price List GetProducts, as"
    " `tonnage catalogue refresh` read them; spot is one moment, per zone id; what they do not tell is of the others"
)
REFRESH = "tonnage catalogue refresh"
FIXED = ("vcpu", "memory_gib", "gpus")
"""What an instance type is: sizes and allocatable figures depend on it."""
MEASURED = ("nvme_gb", "network_gbps", "efa_interfaces", "ebs_baseline_mbps")
"""What EC2 may correct without another machine."""
MOST_CHANGE = 3.0
"""A price that moves by a larger factor is that of another product, or in another unit."""
LEAST_SPOT = 0.02
"""Of the on-demand price: a tenth is the lowest that AWS asks."""
ROWS = {"instances": "instances", "prices": "prices"}

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RegionAnswers:
    """What AWS says of one region: by instance type, fixed prices by name."""

    on_demand: Mapping[str, float]
    zone_ids: Mapping[str, tuple[str, ...]]
    spot: Mapping[str, Mapping[str, float]]
    prices: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What AWS says of all regions; ``machines`` holds ``FIXED`` and ``MEASURED`` of each type that is sold."""

    regions: Mapping[str, RegionAnswers]
    machines: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One figure that is another one now; None where there was or is none."""

    what: str
    before: object
    after: object


def refreshed(documents: Mapping[str, Document], answers: Answers, today: str) -> dict[str, Document]:
    """Return ``instances`` and ``prices`` of today; BadInput where AWS did not answer all of it."""
    return {
        "instances": _instances(documents["instances"], answers, today),
        "prices": _prices(documents["prices"], answers, today),
    }


def dump(document: Mapping[str, Any], rows: str) -> str:
    """Return the text of a file, one line for each entry of ``rows``, so that a refresh reads well as a difference."""
    head = {key: value for key, value in document.items() if key != rows}
    lines = json.dumps(head, indent=1)[:-2] + f',\n "{rows}": [\n'
    return lines + ",\n".join("  " + json.dumps(row) for row in document[rows]) + "\n ]\n}\n"


def changes(before: Mapping[str, Document], after: Mapping[str, Document]) -> tuple[Change, ...]:
    """Return every figure that differs, by name."""
    old = {key: value for name, rows in ROWS.items() for key, value in _figures(before[name][rows])}
    new = {key: value for name, rows in ROWS.items() for key, value in _figures(after[name][rows])}
    return tuple(
        Change(what=key, before=old.get(key), after=new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def _figures(rows: list[Document]) -> Iterator[tuple[str, object]]:
    """Yield each figure of the rows under a name of its own."""
    for row in rows:
        name = row.get("instance_type") or row["name"]
        for key, value in row.items():
            if isinstance(value, Mapping):
                for place, inner in value.items():
                    parts = inner.items() if isinstance(inner, Mapping) else ((None, inner),)
                    for zone, figure in parts:
                        yield " ".join(str(part) for part in (name, key, place, zone) if part), figure
            elif key not in {"instance_type", "name", "regions"}:
                yield f"{name} {key}", value


def _instances(document: Document, answers: Answers, today: str) -> Document:
    known = {row["instance_type"] for row in document["instances"]}
    for region, answer in answers.regions.items():
        if not any(answer.zone_ids.get(name) for name in known):
            raise BadInput(WHERE, f"EC2 names no zone of {region} that offers a type", way_out=UNWRITTEN)
        had_spot = any(region in row["spot_usd_per_hour"] for row in document["instances"])
        if had_spot and not any(answer.spot.get(name) for name in known):
            raise BadInput(WHERE, f"EC2 gives no spot price in {region}", way_out=UNWRITTEN)
    rows = [_instance(row, answers) for row in document["instances"]]
    zones: dict[str, set[str]] = {region: set() for region in document["zone_ids"]}
    for row in rows:
        for region, ids in row["zone_ids"].items() if row["gpus"] else ():
            zones.setdefault(region, set()).update(ids)
    return {
        **document,
        "source": [SOURCE, *(text for text in document["source"] if text != SOURCE)],
        "date": today,
        "refresh": REFRESH,
        "zone_ids": {region: sorted(ids) for region, ids in sorted(zones.items())},
        "instances": rows,
    }


def _instance(row: Document, answers: Answers) -> Document:
    name, machine = row["instance_type"], answers.machines.get(row["instance_type"])
    if machine is None:
        raise BadInput(WHERE, f"EC2 describes no {name}", way_out=UNWRITTEN)
    other = [key for key in FIXED if machine[key] != row[key]]
    if other:
        problem = f"{name} has {other[0]} {machine[other[0]]:g}, the catalogue {row[other[0]]:g}"
        raise BadInput(WHERE, problem, way_out="another machine: rebuild instances.json, nothing is written")
    on_demand, spot, zones = dict(row["on_demand_usd_per_hour"]), dict(row["spot_usd_per_hour"]), dict(row["zone_ids"])
    regions = set(row["regions"])
    for region, answer in answers.regions.items():
        offered, price = sorted(answer.zone_ids.get(name, ())), answer.on_demand.get(name)
        if offered and price is None and region in on_demand:
            raise BadInput(WHERE, f"no on-demand price of {name} in {region}, which offers it", way_out=UNWRITTEN)
        _check_change(f"{name} in {region}", on_demand.get(region), price)
        _put(on_demand, region, price)
        _put(zones, region, offered)
        _put(spot, region, _spot(answer, name, offered, price))
        regions = regions | {region} if offered else regions - {region}
    return {
        **row,
        **{key: machine[key] for key in MEASURED if machine[key]},
        "on_demand_usd_per_hour": dict(sorted(on_demand.items())),
        "spot_usd_per_hour": dict(sorted(spot.items())),
        "zone_ids": dict(sorted(zones.items())),
        "regions": sorted(regions),
    }


def _check_change(what: str, before: float | None, after: float | None) -> None:
    if before and after and not 1 / MOST_CHANGE <= after / before <= MOST_CHANGE:
        problem = f"the price of {what} would go from {before:g} to {after:g}"
        raise BadInput(WHERE, problem, limit=f"a factor of {MOST_CHANGE:g}", way_out=UNWRITTEN)


def _put(table: dict[str, Any], region: str, value: object) -> None:
    table.pop(region, None)
    if value:
        table[region] = value


def _spot(answer: RegionAnswers, name: str, offered: list[str], on_demand: float | None) -> dict[str, float]:
    """Return the spot prices of zones that offer the type, never above on demand, where spot is not bought."""
    prices = answer.spot.get(name, {})
    known = {zone: prices[zone] for zone in offered if zone in prices}
    for zone, price in known.items():
        if price < LEAST_SPOT * (on_demand or 0.0) or price <= 0:
            problem = f"the spot price of {name} in {zone} is {price:g}"
            raise BadInput(WHERE, problem, limit=f"{LEAST_SPOT:g} of on demand", way_out=UNWRITTEN)
    return {zone: price if on_demand is None else min(price, on_demand) for zone, price in known.items()}


def _prices(document: Document, answers: Answers, today: str) -> Document:
    rows = []
    for row in document["prices"]:
        regions = {}
        for region in (key for key in row if key != "name"):
            price = answers.regions[region].prices.get(row["name"]) if region in answers.regions else None
            if price is None:
                raise BadInput(WHERE, f"the Price List holds no {row['name']} in {region}", way_out=UNWRITTEN)
            _check_change(f"{row['name']} in {region}", row[region], price)
            regions[region] = price
        rows.append({"name": row["name"], **regions})
    source = "AWS Price List GetProducts, as `tonnage catalogue refresh` read it (queries: price_queries.json)"
    return {**document, "source": source, "date": today, "refresh": REFRESH, "prices": rows}


def refresh_document(
    before: Mapping[str, Document], after: Mapping[str, Document], written: tuple[str, ...]
) -> dict[str, object]:
    """Return the document of ``tonnage catalogue refresh``: dates, what changed, which files were written."""
    found = changes(before, after)
    return {
        "schema": 1,
        "date": after["instances"]["date"],
        "previous_dates": {name: before[name]["date"] for name in sorted(before)},
        "changes": [{"what": one.what, "before": one.before, "after": one.after} for one in found],
        "written": list(written),
    }
