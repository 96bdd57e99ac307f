"""Fixed costs per hour, whatever the traffic, from the resources of the stack."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from policies.facts.pools import Pool
from policies.facts.prices import fixed_price, log_usd_per_replica_hour, memory_usd_per_gib_hour
from policies.facts.workloads import most_pods, workloads
from policies.graph import Resource, entries, look, of_kind, of_type
from sizing.errors import BadInput
from sizing.units import HOURS_PER_MONTH

HOURLY = {
    "aws:eks/cluster:Cluster": "eks_control_plane_usd_per_hour",
    "aws:ec2/natGateway:NatGateway": "nat_gateway_usd_per_hour",
    "aws:ec2/eip:Eip": "public_ipv4_usd_per_hour",
    "aws:lb/loadBalancer:LoadBalancer": "network_load_balancer_usd_per_hour",
}
"""Resources with one price per hour each."""
MONTHLY = {
    "aws:kms/key:Key": "kms_key_usd_per_month",
    "aws:cloudwatch/metricAlarm:MetricAlarm": "cloudwatch_alarm_usd_per_month",
    "aws:secretsmanager/secret:Secret": "secret_usd_per_month",
}
GIB = {
    **{unit: 2.0 ** (10 * power - 30) for power, unit in enumerate(("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
    "m": 1e-3 / 2**30,
    **{unit: 1000.0**power / 2**30 for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
}
"""GiB of each suffix of a Kubernetes quantity of bytes."""
FREE_IOPS, FREE_MIB_PER_S = 3000, 125
"""What a gp3 volume includes (EBS price page)."""


@dataclass(frozen=True, kw_only=True)
class Charge:
    """One line of the recomputed bill."""

    name: str
    usd_per_hour: float


def region_of(resources: Sequence[Resource]) -> str:
    """Region of the stack: of its AWS provider, otherwise of the first resource that has one; "" if none has."""
    providers = of_type(resources, "pulumi:providers:aws")
    regions = [look(one.props, "region") for one in providers]
    if not any(regions):
        regions = [look(one.props, "region") for one in resources if one.type.startswith("aws:")]
    return next((str(region) for region in regions if region), "")


def fixed_charges(resources: Sequence[Resource], region: str) -> list[Charge]:
    """Control planes, gateways, addresses, endpoints, load balancers, keys, alarms, and costs of pods.

    Of pods: volumes and memory of stateful sets, and logs at the maximum replicas of a model.
    """
    charges = [
        Charge(name=one.name, usd_per_hour=fixed_price(HOURLY[one.type], region)) for one in of_type(resources, *HOURLY)
    ]
    charges += [
        Charge(name=one.name, usd_per_hour=fixed_price(MONTHLY[one.type], region) / HOURS_PER_MONTH)
        for one in of_type(resources, *MONTHLY)
    ]
    endpoint = fixed_price("interface_endpoint_usd_per_zone_hour", region)
    for one in of_type(resources, "aws:ec2/vpcEndpoint:VpcEndpoint"):
        if look(one.props, "vpcEndpointType") == "Interface":
            zones = max(1, len(entries(one.props, "subnetIds")))
            charges.append(Charge(name=one.name, usd_per_hour=endpoint * zones))
    balancer = fixed_price("network_load_balancer_usd_per_hour", region)
    charges += [Charge(name=one.object_name, usd_per_hour=balancer) for one in _balancers(resources)]
    return charges + _pod_volumes(resources, region) + _pod_memory(resources, region) + _pod_logs(resources, region)


def _balancers(resources: Sequence[Resource]) -> list[Resource]:
    services = [one for one in of_kind(resources, "Service") if look(one.props, "spec", "type") == "LoadBalancer"]
    return services + of_kind(resources, "Gateway")


def _pod_volumes(resources: Sequence[Resource], region: str) -> list[Charge]:
    charges = []
    for one in of_kind(resources, "StatefulSet"):
        count = int(look(one.props, "spec", "replicas") or 1)
        sizes = [_storage_gib(claim) for claim in entries(one.props, "spec", "volumeClaimTemplates")]
        charges.append(Charge(name=one.object_name, usd_per_hour=count * _volume(sum(sizes), region)))
    claims = of_kind(resources, "PersistentVolumeClaim")
    return charges + [
        Charge(name=one.object_name, usd_per_hour=_volume(_storage_gib(one.props), region)) for one in claims
    ]


def _pod_memory(resources: Sequence[Resource], region: str) -> list[Charge]:
    """Return the share of a system node that each stateful set takes; GPU pods are counted with their pools."""
    charges = []
    for one in workloads(resources):
        asked = [gib(look(part, "resources", "requests", "memory") or 0) for part in one.containers]
        if one.resource.kind == "StatefulSet" and not one.gpus:
            usd = most_pods(one, resources) * sum(asked) * memory_usd_per_gib_hour(region)
            charges.append(Charge(name=f"memory of {one.resource.object_name}", usd_per_hour=usd))
    return charges


def _pod_logs(resources: Sequence[Resource], region: str) -> list[Charge]:
    each = log_usd_per_replica_hour(region)
    return [
        Charge(name=f"logs of {one.resource.object_name}", usd_per_hour=most_pods(one, resources) * each)
        for one in workloads(resources)
        if one.gpus
    ]


def _storage_gib(claim: object) -> float:
    return gib(look(claim, "spec", "resources", "requests", "storage") or 0)


def gib(quantity: object) -> float:
    """Return a Kubernetes quantity of bytes in GiB; BadInput for anything else, which would lower a ceiling."""
    matched = re.fullmatch(r"(\d+\.?\d*(?:[eE]\d+)?)([A-Za-z]*)", str(quantity))
    if matched is None or matched.group(2) not in GIB:
        raise BadInput("quantity", f"{quantity!r} is no size in bytes", limit="a number with " + ", ".join(GIB))
    return float(matched.group(1)) * GIB[matched.group(2)]


def _volume(size_gib: float, region: str, iops: int = 0, mib_per_s: int = 0) -> float:
    """USD per hour of one gp3 volume."""
    monthly = size_gib * fixed_price("ebs_gp3_usd_per_gb_month", region)
    monthly += max(0, iops - FREE_IOPS) * fixed_price("ebs_gp3_usd_per_iops_month", region)
    monthly += max(0, mib_per_s - FREE_MIB_PER_S) * fixed_price("ebs_gp3_usd_per_mib_per_s_month", region)
    return monthly / HOURS_PER_MONTH


def node_disk_usd_per_hour(pool: Pool, resources: Sequence[Resource], region: str) -> float:
    """Price of the root volumes of one node: of its EC2NodeClass, or of the most expensive launch template."""
    if pool.nodes is None:
        wanted = look(pool.resource.props, "spec", "template", "spec", "nodeClassRef", "name")
        classes = [one for one in of_kind(resources, "EC2NodeClass") if one.object_name == wanted]
        mappings = [entries(one.props, "spec", "blockDeviceMappings") for one in classes]
    elif look(pool.resource.props, "diskSize"):
        return _volume(float(look(pool.resource.props, "diskSize")), region)
    else:
        templates = of_type(resources, "aws:ec2/launchTemplate:LaunchTemplate")
        mappings = [entries(one.props, "blockDeviceMappings") for one in templates]
    return max((sum(_mapping(one, region) for one in found) for found in mappings), default=0.0)


def _mapping(mapping: object, region: str) -> float:
    ebs = look(mapping, "ebs") or {}
    size = look(ebs, "volumeSize") or 0
    size_gib = float(size) if isinstance(size, (int, float)) else gib(size)
    return _volume(size_gib, region, int(look(ebs, "iops") or 0), int(look(ebs, "throughput") or 0))
