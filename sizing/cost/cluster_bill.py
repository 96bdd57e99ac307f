"""What a cluster costs before a model is served: control plane, system nodes, NAT gateways, endpoints."""

from __future__ import annotations

from sizing.catalogue import Catalogue
from sizing.catalogue.files import serving_facts
from sizing.cost.transfer import constant
from sizing.plan import BillLine
from sizing.units import HOURS_PER_MONTH


def fixed_bill_cluster(
    region: str,
    catalogue: Catalogue,
    *,
    zones: int,
    nat_gateways: int,
    interface_endpoints: int,
    system_instance_type: str,
    system_nodes: int,
    system_disk_gib: int,
    flow_logs: bool = False,
) -> tuple[BillLine, ...]:
    """Return the bill of the cluster stack: control plane, NAT, endpoints, system nodes and their disks, logs."""
    price = catalogue.instance(system_instance_type).offer(region).on_demand_usd_per_hour
    volume = system_disk_gib * catalogue.price("ebs_gp3_usd_per_gb_month", region) / HOURS_PER_MONTH
    endpoints = interface_endpoints * zones * catalogue.price("interface_endpoint_usd_per_zone_hour", region)
    nat = catalogue.price("nat_gateway_usd_per_hour", region) + catalogue.price("public_ipv4_usd_per_hour", region)
    rows = (
        ("EKS control plane", catalogue.price("eks_control_plane_usd_per_hour", region), "one cluster"),
        ("NAT gateways", nat_gateways * nat, f"{nat_gateways} with a public address each"),
        ("interface endpoints", endpoints, f"{interface_endpoints} services in {zones} zones"),
        (
            "system nodes",
            system_nodes * (price + volume),
            f"{system_nodes} x {system_instance_type}, {system_disk_gib} GiB",
        ),
        ("cluster key", catalogue.price("kms_key_usd_per_month", region) / HOURS_PER_MONTH, "one KMS key"),
        *_carried_and_kept(region, catalogue, endpoints=interface_endpoints > 0),
    )
    rows += _flow_logs(region, catalogue) if flow_logs else ()
    return tuple(BillLine(name=name, usd_per_hour=constant(usd), rule=rule) for name, usd, rule in rows)


def _flow_logs(region: str, catalogue: Catalogue) -> tuple[tuple[str, float, str], ...]:
    """Row (name, USD per hour, rule) of flow logs, which only a cluster has that asks for them."""
    gigabytes = serving_facts("cluster")["flow_log_gb_per_month"]
    usd = gigabytes * catalogue.price("cloudwatch_logs_usd_per_gb", region) / HOURS_PER_MONTH
    return (("flow logs", usd, f"{gigabytes} GB a month of refused connections"),)


def _carried_and_kept(region: str, catalogue: Catalogue, *, endpoints: bool) -> tuple[tuple[str, float, str], ...]:
    """Rows (name, USD per hour, rule) of data and storage of a cluster: NAT data, images, its own logs."""
    facts = serving_facts("cluster")
    gigabytes, share = facts["nat_gb_per_month"], 0.5 if endpoints else 0.0
    carried = gigabytes * (1 - share) * catalogue.price("nat_gateway_usd_per_gb", region)
    carried += gigabytes * share * catalogue.price("interface_endpoint_usd_per_gb", region)
    images = facts["registry_gb"] * catalogue.price("ecr_usd_per_gb_month", region)
    logs = facts["log_gb_per_month"] * catalogue.price("cloudwatch_logs_usd_per_gb", region)
    way = "half through endpoints" if endpoints else "through NAT"
    return (
        ("NAT and endpoint data", carried / HOURS_PER_MONTH, f"{gigabytes} GB a month, {way}"),
        ("image registry", images / HOURS_PER_MONTH, f"{facts['registry_gb']} GB in ECR"),
        (
            "cluster logs",
            logs / HOURS_PER_MONTH,
            f"{facts['log_gb_per_month']} GB a month of control plane logs",
        ),
    )


def default_cluster_bill(region: str, catalogue: Catalogue) -> tuple[BillLine, ...]:
    """Return the bill of the smallest cluster that the stack files default to; several serving stacks may share it."""
    facts = serving_facts("cluster")
    keys = ("zones", "nat_gateways", "interface_endpoints", "system_instance_type", "system_nodes", "system_disk_gib")
    return fixed_bill_cluster(region, catalogue, **{key: facts[key] for key in keys})
