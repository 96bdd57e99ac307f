"""What AWS answers becomes the price files: nothing changes that did not, and a partial answer changes nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from sizing.catalogue.catalogue import HERE
from sizing.catalogue.price_list import PriceQuery, listed_price, price_queries
from sizing.catalogue.refresh import FIXED, MEASURED, Answers, Change, RegionAnswers, changes, dump, refreshed
from sizing.errors import BadInput

BEFORE = {name: json.loads((HERE / f"{name}.json").read_text("utf-8")) for name in ("instances", "prices")}
ROWS = BEFORE["instances"]["instances"]


def answered(region: str) -> RegionAnswers:
    """What AWS would say if nothing had changed."""
    return RegionAnswers(
        on_demand={row["instance_type"]: row["on_demand_usd_per_hour"].get(region) for row in ROWS},
        zone_ids={row["instance_type"]: tuple(row["zone_ids"].get(region, ())) for row in ROWS},
        spot={row["instance_type"]: row["spot_usd_per_hour"].get(region, {}) for row in ROWS},
        prices={row["name"]: row[region] for row in BEFORE["prices"]["prices"]},
    )


SAME = Answers(
    regions={region: answered(region) for region in BEFORE["instances"]["zone_ids"]},
    machines={row["instance_type"]: {key: row[key] for key in (*FIXED, *MEASURED)} for row in ROWS},
)


def told(region: str = "us-east-1", **parts: Mapping[str, Any]) -> Answers:
    """Return the answers with some of one region replaced, key by key."""
    was = SAME.regions[region]
    new = replace(was, **{name: {**getattr(was, name), **values} for name, values in parts.items()})
    return replace(SAME, regions={**SAME.regions, region: new})


def test_answers_that_are_those_of_the_catalogue_change_nothing_but_the_date() -> None:
    after = refreshed(BEFORE, SAME, "2027-01-01")
    assert changes(BEFORE, after) == ()
    assert after["instances"]["instances"] == ROWS
    assert after["instances"]["zone_ids"] == BEFORE["instances"]["zone_ids"]
    assert {one["date"] for one in after.values()} == {"2027-01-01"}
    again = refreshed(after, SAME, "2027-01-01")
    assert [dump(again[name], name) for name in again] == [dump(after[name], name) for name in after]
    assert json.loads(dump(after["prices"], "prices")) == after["prices"]


def test_each_figure_that_moved_is_told_with_what_it_was() -> None:
    answers = told(
        on_demand={"g6e.xlarge": 2.0},
        zone_ids={"g6e.xlarge": ("use1-az1", "use1-az2")},
        spot={"g6e.xlarge": {"use1-az1": 0.7, "use1-az2": 9.0, "use1-az6": 0.8}},
        prices={"ebs_gp3_usd_per_gb_month": 0.09},
    )
    after = refreshed(BEFORE, answers, "2027-01-01")
    assert changes(BEFORE, after) == (
        Change(what="ebs_gp3_usd_per_gb_month us-east-1", before=0.08, after=0.09),
        Change(what="g6e.xlarge on_demand_usd_per_hour us-east-1", before=1.861, after=2.0),
        Change(what="g6e.xlarge spot_usd_per_hour us-east-1 use1-az1", before=None, after=0.7),
        Change(what="g6e.xlarge spot_usd_per_hour us-east-1 use1-az2", before=None, after=2.0),
        Change(
            what="g6e.xlarge zone_ids us-east-1",
            before=["use1-az1", "use1-az2", "use1-az4", "use1-az6"],
            after=["use1-az1", "use1-az2"],
        ),
    )


def test_a_type_that_no_zone_offers_any_more_loses_zones_spot_and_a_price_that_is_gone() -> None:
    answers = told("us-west-2", zone_ids={"g6e.xlarge": ()}, on_demand={"g6e.xlarge": None})
    after = refreshed(BEFORE, answers, "2027-01-01")
    row = next(one for one in after["instances"]["instances"] if one["instance_type"] == "g6e.xlarge")
    for key in ("on_demand_usd_per_hour", "spot_usd_per_hour", "zone_ids", "regions"):
        assert "us-west-2" not in row[key]
    assert "us-east-1" in row["on_demand_usd_per_hour"]


def without(name: str) -> Answers:
    return replace(SAME, machines={key: value for key, value in SAME.machines.items() if key != name})


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (lambda: told(on_demand={"g6e.xlarge": None}), "no on-demand price of g6e.xlarge in us-east-1"),
        (lambda: told(prices={"nat_gateway_usd_per_gb": None}), "no nat_gateway_usd_per_gb in us-east-1"),
        (lambda: told(zone_ids=dict.fromkeys(SAME.machines, ())), "no zone of us-east-1"),
        (lambda: told(spot={key: {} for key in SAME.machines}), "no spot price in us-east-1"),
        (
            lambda: told(on_demand={"g6e.xlarge": 18.61}),
            "price of g6e.xlarge in us-east-1 would go from 1.861 to 18.61",
        ),
        (lambda: told(prices={"ebs_gp3_usd_per_mib_per_s_month": 40.96}), "would go from 0.04 to 40.96"),
        (lambda: told(spot={"g6e.xlarge": {"use1-az1": 1e-5}}), "spot price of g6e.xlarge in use1-az1 is 1e-05"),
        (lambda: without("g6e.xlarge"), "EC2 describes no g6e.xlarge"),
        (
            lambda: replace(SAME, machines={**SAME.machines, "g6e.xlarge": {**SAME.machines["g6e.xlarge"], "vcpu": 8}}),
            "g6e.xlarge has vcpu 8, the catalogue 4",
        ),
        (lambda: replace(SAME, regions={"us-east-1": SAME.regions["us-east-1"]}), "in us-west-2"),
    ],
)
def test_a_partial_answer_is_refused_as_a_whole(answers: Callable[[], Answers], words: str) -> None:
    kept = copy.deepcopy(BEFORE)
    with pytest.raises(BadInput, match=words) as refused:
        refreshed(BEFORE, answers(), "2027-01-01")
    assert "nothing is written" in refused.value.line()
    assert kept == BEFORE


def product(usage: str, *tiers: tuple[str, str], operation: str = "") -> dict[str, Any]:
    dimensions = {begin: {"beginRange": begin, "pricePerUnit": {"USD": price}} for begin, price in tiers}
    attributes = {"usagetype": usage, "operation": operation}
    return {"product": {"attributes": attributes}, "terms": {"OnDemand": {"term": {"priceDimensions": dimensions}}}}


NAT = PriceQuery(name="nat", service="AmazonEC2", usage="NatGateway-Hours", operation="NatGateway")
HOURS = product("USW2-NatGateway-Hours", ("0", "0.045"), operation="NatGateway")


@pytest.mark.parametrize(
    ("products", "query", "want"),
    [
        ([HOURS], NAT, 0.045),
        ([product("NatGateway-Hours", ("0", "0.045"), operation="NatGateway"), HOURS], NAT, 0.045),
        ([product("USW2-MyNatGateway-Hours", ("0", "1"), operation="NatGateway")], NAT, None),
        ([product("USW2-NatGateway-Hours", ("0", "1"), operation="Other")], NAT, None),
        ([product("x", ("0", "0"), ("10240", "0.07"), ("100", "0.09"))], PriceQuery(name="x", service="y"), 0.09),
        ([product("x", ("0", "40.96"))], PriceQuery(name="x", service="y", divided_by=1024), 0.04),
        ([product("x", ("0", "nan")), {}, {"terms": {"OnDemand": {}}}], PriceQuery(name="x", service="y"), None),
    ],
)
def test_the_price_is_the_first_paid_tier_of_the_product_that_is_meant(
    products: list[dict[str, Any]], query: PriceQuery, want: float | None
) -> None:
    assert listed_price(products, query) == want


def test_two_prices_for_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match=r"several prices: 0\.045, 0\.05"):
        listed_price([HOURS, product("NatGateway-Hours", ("0", "0.05"), operation="NatGateway")], NAT)


def test_every_fixed_price_has_a_query_and_no_query_is_idle() -> None:
    assert [query.name for query in price_queries()] == [row["name"] for row in BEFORE["prices"]["prices"]]
