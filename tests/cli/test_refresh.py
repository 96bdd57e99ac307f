"""``tonnage catalogue refresh``: read-only calls in the shapes of AWS, files all or none, refusals in one line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from cli.adapters import aws
from cli.verbs import catalogue
from sizing.catalogue.catalogue import HERE
from sizing.catalogue.price_list import instance_query, price_queries
from tests.cli.conftest import Tonnage
from tests.sizing.catalogue.test_refresh import product

REGION, TYPES = "us-east-1", ("g6e.xlarge", "m7i.large")
MACHINES = [
    {
        "InstanceType": "g6e.xlarge",
        "VCpuInfo": {"DefaultVCpus": 4},
        "MemoryInfo": {"SizeInMiB": 32768},
        "GpuInfo": {"Gpus": [{"Count": 1}]},
        "InstanceStorageInfo": {"TotalSizeInGB": 250},
        "NetworkInfo": {"NetworkCards": [{"BaselineBandwidthInGbps": 2.5}]},
        "EbsInfo": {"EbsOptimizedInfo": {"BaselineBandwidthInMbps": 1000}},
    },
    {"InstanceType": "m7i.large", "VCpuInfo": {"DefaultVCpus": 2}, "MemoryInfo": {"SizeInMiB": 8192}},
]


def small_catalogue() -> dict[str, Any]:
    """Two types and all prices of one region."""
    found = {name: json.loads((HERE / f"{name}.json").read_text("utf-8")) for name in ("instances", "prices")}
    instances, prices = found["instances"], found["prices"]
    instances["zone_ids"] = {REGION: instances["zone_ids"][REGION]}
    instances["instances"] = [row for row in instances["instances"] if row["instance_type"] in TYPES]
    prices["prices"] = [{"name": row["name"], REGION: row[REGION]} for row in prices["prices"]]
    return found


def answer_ec2(stub: Stubber) -> None:
    zones = [{"ZoneName": f"us-east-1{letter}", "ZoneId": f"use1-az{n}"} for letter, n in (("a", 1), ("b", 2))]
    offered = [
        {"InstanceType": name, "LocationType": "availability-zone-id", "Location": zone["ZoneId"]}
        for name in TYPES
        for zone in zones
    ]
    spot = [
        {"InstanceType": "g6e.xlarge", "AvailabilityZone": "us-east-1a", "SpotPrice": price,
         "Timestamp": datetime(2027, 1, day, tzinfo=UTC)}
        for day, price in ((2, "0.9"), (1, "0.7"))
    ]  # fmt: skip
    stub.add_response("describe_instance_types", {"InstanceTypes": MACHINES})
    stub.add_response("describe_instance_type_offerings", {"InstanceTypeOfferings": offered})
    stub.add_response("describe_availability_zones", {"AvailabilityZones": zones})
    stub.add_response("describe_spot_price_history", {"SpotPriceHistory": spot})


def answer_prices(stub: Stubber, prices: dict[str, float]) -> None:
    for query in (*map(instance_query, TYPES), *price_queries()):
        price = prices.get(query.name)
        listed = product(f"USE1-{query.usage}", ("0", f"{price * query.divided_by}"), operation=query.operation)
        wanted = {**query.filters, query.region_field: REGION}
        asked = {
            "ServiceCode": query.service,
            "Filters": [{"Type": "TERM_MATCH", "Field": key, "Value": wanted[key]} for key in sorted(wanted)],
        }
        stub.add_response("get_products", {"PriceList": [json.dumps(listed)]}, asked)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stubber]:
    session = boto3.Session("key", "secret")
    made = {name: session.client(name, region_name=REGION) for name in ("ec2", "pricing")}
    found = {name: Stubber(client) for name, client in made.items()}
    monkeypatch.setattr(aws, "clients", lambda: lambda service, _: made[service])
    monkeypatch.setattr(catalogue, "_documents", lambda _: small_catalogue())
    for stub in found.values():
        stub.activate()
    return found


def all_prices() -> dict[str, float]:
    known = small_catalogue()
    prices = {row["name"]: row[REGION] for row in known["prices"]["prices"]}
    return prices | {
        row["instance_type"]: row["on_demand_usd_per_hour"][REGION] for row in known["instances"]["instances"]
    }


def test_what_aws_says_is_written_and_what_it_changes_is_told(
    tonnage: Tonnage, stubs: dict[str, Stubber], tmp_path: Path
) -> None:
    answer_ec2(stubs["ec2"])
    answer_prices(stubs["pricing"], {**all_prices(), "g6e.xlarge": 1.9})
    called = tonnage("catalogue", "refresh", "--out", str(tmp_path), "--format", "json")
    told = {one["what"]: (one["before"], one["after"]) for one in called.document["changes"]}
    assert told["g6e.xlarge on_demand_usd_per_hour us-east-1"] == (1.861, 1.9)
    assert told["g6e.xlarge spot_usd_per_hour us-east-1 use1-az1"] == (None, 0.9)
    assert not [what for what in told if "vcpu" in what or "gp3" in what]
    written = json.loads((tmp_path / "instances.json").read_text())
    assert written["date"] == called.document["date"] == json.loads((tmp_path / "prices.json").read_text())["date"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["instances.json", "prices.json"]
    for stub in stubs.values():
        stub.assert_no_pending_responses()


@pytest.mark.parametrize("output_format", ["text", "markdown"])
def test_a_dry_run_says_the_same_and_writes_nothing(
    tonnage: Tonnage, stubs: dict[str, Stubber], tmp_path: Path, output_format: str
) -> None:
    answer_ec2(stubs["ec2"])
    answer_prices(stubs["pricing"], {**all_prices(), "g6e.xlarge": 1.9})
    called = tonnage("catalogue", "refresh", "--dry-run", "--out", str(tmp_path), "--format", output_format)
    assert called.code == 0
    assert "+2.1 %" in called.out
    assert not list(tmp_path.iterdir())


def test_a_call_that_aws_refuses_is_one_line_and_nothing_is_written(
    tonnage: Tonnage, stubs: dict[str, Stubber], tmp_path: Path
) -> None:
    answer_ec2(stubs["ec2"])
    stubs["pricing"].add_client_error("get_products", "AccessDeniedException", "not\nallowed")
    called = tonnage("catalogue", "refresh", "--out", str(tmp_path))
    *_, line = called.err.splitlines()
    assert line.startswith("AWS: GetProducts is refused: AccessDeniedException not allowed; hint: allow pricing:")
    assert called.code == 2
    assert not list(tmp_path.iterdir())


def test_an_answer_in_another_form_is_one_line(tonnage: Tonnage, stubs: dict[str, Stubber], tmp_path: Path) -> None:
    answer_ec2(stubs["ec2"])
    stubs["pricing"].add_response("get_products", {"PriceList": ["<html>"]})
    called = tonnage("catalogue", "refresh", "--out", str(tmp_path))
    assert "AWS: answers in another form: JSONDecodeError" in called.err
    assert called.code == 2
    assert not list(tmp_path.iterdir())


def test_without_credentials_the_line_says_which_permissions_it_takes(
    tonnage: Tonnage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    called = tonnage("catalogue", "refresh", "--out", str(tmp_path))
    assert "AWS: Unable to locate credentials; hint: " in called.err
    assert "ec2:DescribeSpotPriceHistory" in called.err
    assert called.code == 2
    assert not list(tmp_path.iterdir())


def test_a_profile_that_does_not_exist_is_one_line(
    tonnage: Tonnage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    called = tonnage("catalogue", "refresh", "--out", str(tmp_path))
    assert called.line.startswith("AWS: The config profile (nobody) could not be found; hint: ")
    assert called.code == 2


def test_a_folder_that_is_none_is_refused_before_anything_is_asked(tonnage: Tonnage, tmp_path: Path) -> None:
    called = tonnage("catalogue", "refresh", "--out", str(tmp_path / "none"))
    assert called.line.startswith("--out: ")
    assert called.code == 2
