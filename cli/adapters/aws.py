"""Current instance types and prices from AWS, read-only, for ``tonnage catalogue refresh``.

Calls EC2 in each region and the Price List API (in us-east-1) through boto3; ``sizing.catalogue.refresh`` evaluates the
answers. Every AWS error is one line with the call and the IAM permission that it needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sizing.catalogue.price_list import PriceQuery, instance_query, listed_price, price_queries
from sizing.catalogue.refresh import Answers, RegionAnswers
from sizing.errors import BadInput

WHERE = "AWS"
PRICE_LIST_REGION = "us-east-1"
PERMISSIONS = (
    "pricing:GetProducts, ec2:DescribeInstanceTypes, ec2:DescribeInstanceTypeOfferings, ec2:DescribeAvailabilityZones,"
    " ec2:DescribeSpotPriceHistory"
)
TIMEOUT_S = 20
ATTEMPTS = 5
FILTER_LIMIT = 100
"""Values of one filter per call; EC2 allows 200."""
MIB_PER_GIB = 1024

Clients = Callable[[str, str], Any]
"""Returns the client of a service in a region."""
Progress = Callable[[str], None]


def clients() -> Clients:
    """Return a factory of clients with the credentials of the environment."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"max_attempts": ATTEMPTS, "mode": "standard"}
    )
    with one_line():
        session = boto3.Session()
    return lambda service, region: session.client(service, region_name=region, config=config)


def read_answers(types: Sequence[str], regions: Sequence[str], make: Clients, progress: Progress) -> Answers:
    """Return what AWS reports for these instance types and regions; BadInput names the call that failed."""
    with one_line():
        price_list = _PriceList(make("pricing", PRICE_LIST_REGION))
        machines: dict[str, Mapping[str, float]] = {}
        answered = {}
        for region in sorted(regions):
            progress(f"{region}: {len(types)} instance types and {len(price_queries())} prices")
            client = make("ec2", region)
            machines |= _machines(client, types)
            answered[region] = _region(client, price_list, types, region)
    return Answers(regions=answered, machines=machines)


@dataclass(frozen=True)
class _PriceList:
    client: Any

    def price(self, query: PriceQuery, region: str) -> float | None:
        """Return one price in USD, None where the list holds none."""
        wanted = {**query.filters, query.region_field: region}
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in sorted(wanted.items())]
        pages = self.client.get_paginator("get_products").paginate(ServiceCode=query.service, Filters=filters)
        return listed_price((json.loads(text) for page in pages for text in page["PriceList"]), query)


def _region(client: Any, price_list: _PriceList, types: Sequence[str], region: str) -> RegionAnswers:
    zone_ids = _offerings(client, types)
    sold = {name: price_list.price(instance_query(name), region) for name in types}
    fixed = {query.name: price_list.price(query, region) for query in price_queries()}
    return RegionAnswers(
        on_demand={name: price for name, price in sold.items() if price is not None},
        zone_ids=zone_ids,
        spot=_spot(client, sorted(zone_ids)),
        prices={name: price for name, price in fixed.items() if price is not None},
    )


def _in_pages(client: Any, operation: str, key: str, **asked: Any) -> Iterable[Mapping[str, Any]]:
    for page in client.get_paginator(operation).paginate(**asked):
        yield from page[key]


def _filtered(client: Any, operation: str, key: str, types: Sequence[str], **asked: Any) -> Iterable[Mapping[str, Any]]:
    for start in range(0, len(types), FILTER_LIMIT):
        wanted = {"Name": "instance-type", "Values": list(types[start : start + FILTER_LIMIT])}
        yield from _in_pages(client, operation, key, Filters=[wanted], **asked)


def _machines(client: Any, types: Sequence[str]) -> dict[str, Mapping[str, float]]:
    found = _filtered(client, "describe_instance_types", "InstanceTypes", types)
    return {one["InstanceType"]: _machine(one) for one in found}


def _machine(described: Mapping[str, Any]) -> Mapping[str, float]:
    """Return one instance type with the keys of the catalogue; 0 where EC2 gives no value."""
    network = described.get("NetworkInfo", {})
    cards = network.get("NetworkCards", ())
    ebs = described.get("EbsInfo", {}).get("EbsOptimizedInfo", {})
    return {
        "vcpu": described["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": described["MemoryInfo"]["SizeInMiB"] / MIB_PER_GIB,
        "gpus": sum(gpu["Count"] for gpu in described.get("GpuInfo", {}).get("Gpus", ())),
        "nvme_gb": described.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        "network_gbps": sum(card.get("BaselineBandwidthInGbps", 0.0) for card in cards),
        "efa_interfaces": network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0),
        "ebs_baseline_mbps": ebs.get("BaselineBandwidthInMbps", 0),
    }


def _offerings(client: Any, types: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    rows = _filtered(
        client, "describe_instance_type_offerings", "InstanceTypeOfferings", types, LocationType="availability-zone-id"
    )
    for row in rows:
        found.setdefault(row["InstanceType"], set()).add(row["Location"])
    return {name: tuple(sorted(zones)) for name, zones in sorted(found.items())}


def _spot(client: Any, types: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the current spot price by instance type and zone id."""
    from datetime import UTC, datetime

    ids = {zone["ZoneName"]: zone["ZoneId"] for zone in client.describe_availability_zones()["AvailabilityZones"]}
    latest: dict[tuple[str, str], tuple[Any, float]] = {}
    for start in range(0, len(types), FILTER_LIMIT):
        asked = types[start : start + FILTER_LIMIT]
        rows = _in_pages(
            client, "describe_spot_price_history", "SpotPriceHistory", InstanceTypes=asked,
            ProductDescriptions=["Linux/UNIX"], StartTime=datetime.now(UTC),
        )  # fmt: skip
        for row in rows:
            place = row["InstanceType"], ids.get(row["AvailabilityZone"], "")
            price_at = row["Timestamp"], float(row["SpotPrice"])
            latest[place] = max(latest.get(place, price_at), price_at, key=lambda pair: pair[0])
    prices: dict[str, dict[str, float]] = {}
    for (name, zone), (_, price) in sorted(latest.items()):
        if zone:
            prices.setdefault(name, {})[zone] = price
    return prices


@contextmanager
def one_line(permissions: str = PERMISSIONS) -> Generator[None]:
    """Turn an error of AWS, credentials or network into one line that names the ``permissions`` of the calls."""
    from botocore import exceptions as refused

    try:
        yield
    except refused.ClientError as error:
        said = error.response.get("Error", {})
        problem = f"{error.operation_name} is refused: {said.get('Code', '')} {str(said.get('Message', ''))[:160]}"
        raise BadInput(WHERE, problem, way_out=f"allow {permissions}; nothing is written") from error
    except (refused.NoCredentialsError, refused.PartialCredentialsError, refused.ProfileNotFound) as error:
        way_out = f"`aws configure`, or AWS_PROFILE of an account that allows {permissions}; nothing is written"
        raise BadInput(WHERE, str(error).rstrip("."), way_out=way_out) from error
    except (KeyError, TypeError, ValueError) as error:
        problem = f"answers in another form: {type(error).__name__} {str(error)[:120]}"
        raise BadInput(WHERE, problem, way_out="nothing is written; is the endpoint AWS?") from error
    except refused.BotoCoreError as error:
        problem = f"does not answer: {str(error)[:200]}"
        raise BadInput(WHERE, problem, way_out="see the network and the credentials; nothing is written") from error
