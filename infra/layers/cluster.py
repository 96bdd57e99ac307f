"""The cluster layer: network, control plane, registry, operators. Changes rarely; serving stacks deploy on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws

from components.cluster.eks.component import Cluster, ClusterArgs
from components.cluster.karpenter_controller.component import KarpenterController, KarpenterControllerArgs
from components.cluster.network.component import Network, NetworkArgs
from components.cluster.network.documents import subnet_layout
from components.cluster.operators.component import Operators, OperatorsArgs
from components.cluster.registry.component import Registry, RegistryArgs
from infra import versions
from infra.environment import secrets_prefix
from infra.kubernetes_versions import kubernetes_version, support_notice
from infra.outputs import EXPORT, to_exports
from infra.providers import kubernetes_provider
from infra.settings.cluster import ClusterSettings
from infra.settings.names import check_stack_name, environment
from infra.sweep import cluster_name
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.nodes.system_nodes import SystemNodes, check_fit, check_instance, nodes_by_zone
from sizing.nodes.zones import network_zones as zones_by_offer

Exports = dict[str, Any]
CHARTS_EXPORT = "charts"
"""Output with the versions of the charts, by which the next run knows which of them changes."""


def network_zones(settings: ClusterSettings) -> tuple[str, ...]:
    """Return the zones of the network: those declared, or those that offer most GPU instance types."""
    if settings.zone_ids is not None:
        return tuple(sorted(settings.zone_ids))
    ranked = zones_by_offer(settings.region, load_catalogue())
    if settings.zones > len(ranked):
        raise BadInput("tonnage:zones", f"{settings.zones}, but {settings.region} has {len(ranked)}")
    return tuple(sorted(ranked[: settings.zones]))


def system_nodes_of(settings: ClusterSettings) -> SystemNodes:
    """Return the system nodes by zone; BadInput for a type that has GPUs or that a zone does not sell."""
    nodes = settings.system_nodes
    by_zone = nodes_by_zone(network_zones(settings), nodes.count)
    instance = load_catalogue().instance(nodes.instance_type)
    check_instance(instance, settings.region, tuple(by_zone), "tonnage:systemNodes.instanceType")
    return SystemNodes(instance=instance, by_zone=by_zone)


def _checked_by_serving(settings: ClusterSettings) -> Exports:
    """Return what a serving stack compares its plan with before it makes anything."""
    nodes = system_nodes_of(settings)
    return {
        "system_instance_type": nodes.instance.instance_type,
        "system_nodes": nodes.by_zone,
        "private_cidrs": {
            pair.zone_id: pair.private_cidr for pair in subnet_layout(settings.cidr, network_zones(settings))
        },
    }


def cluster_tags(stack: str) -> dict[str, str]:
    """Return the tags of everything in a cluster stack."""
    return {"tonnage:stack": stack}


def compose_cluster(settings: ClusterSettings, stack: str, aws_account: aws.Provider) -> Exports:
    """Register the cluster layer and return its exports: the contract that serving stacks read."""
    check_stack_name(stack, cluster=True)
    check_fit(system_nodes_of(settings), store=None, proxies=0)
    _say_when_support_ends(settings)
    tags = cluster_tags(stack)
    name = cluster_name(stack)
    # On everything: the engine deletes in order and finds a protected resource only when its turn comes.
    cloud = pulumi.ResourceOptions(providers=[aws_account], protect=settings.protect)
    network = Network("network", _network_args(settings, name, tags), cloud)
    cluster = Cluster(name, _cluster_args(settings, network, tags), cloud)
    registry = Registry("registry", RegistryArgs(repository=f"tonnage/{environment(stack)}", tags=tags), cloud)
    inside = kubernetes_provider(
        region=settings.region,
        cluster_name=name,
        endpoint=cluster.endpoint,
        certificate_authority=cluster.certificate_authority,
    )
    both = pulumi.ResourceOptions.merge(cloud, pulumi.ResourceOptions(providers=[inside], depends_on=cluster.ready))
    operators = Operators("operators", _operators_args(settings, network, cluster, name, tags), both)
    karpenter = KarpenterController(
        f"{name}-karpenter",
        KarpenterControllerArgs(
            cluster_name=cluster.cluster_name,
            cluster_arn=cluster.cluster_arn,
            node_role_arn=cluster.node_role_arn,
            chart=versions.KARPENTER,
            permissions_boundary=settings.permissions_boundary_arn,
            tags=tags,
        ),
        both,
    )
    return {
        EXPORT: to_exports(
            {
                **_cluster_exports(network, cluster, operators),
                "region": settings.region,
                **_checked_by_serving(settings),
                "repository_url": registry.repository_url,
                "secrets_prefix": secrets_prefix(stack),
                "karpenter_role_name": karpenter.role_name,
            }
        ),
        CHARTS_EXPORT: {name: chart.version for name, chart in sorted(versions.CHARTS.items())},
    }


def warn_of_definitions(deployed: Mapping[str, Any]) -> None:
    """Warn of each chart that comes newer than ``deployed``, the exports of this stack, while Helm leaves its CRDs."""
    for name, was in sorted((deployed.get(CHARTS_EXPORT) or {}).items()):
        chart = versions.CHARTS.get(name)
        if chart and chart.crds_command and was != chart.version:
            command = f"{chart.crds_command.format(chart.version)} | kubectl apply --server-side --force-conflicts -f -"
            changed = f"chart {name} goes from {was} to {chart.version} and Helm leaves its definitions as they are"
            pulumi.log.warn(f"{changed}: before up run {command}")


def _say_when_support_ends(settings: ClusterSettings) -> None:
    notice = support_notice(kubernetes_version(settings.kubernetes_version, "tonnage:kubernetesVersion"))
    if notice:
        pulumi.log.warn(notice)


def _cluster_exports(network: Network, cluster: Cluster, operators: Operators) -> Exports:
    return {
        "cluster_name": cluster.cluster_name,
        "cluster_arn": cluster.cluster_arn,
        "kubernetes_version": cluster.kubernetes_version,
        "endpoint": cluster.endpoint,
        "certificate_authority": cluster.certificate_authority,
        "security_group_id": cluster.security_group_id,
        "node_role_arn": cluster.node_role_arn,
        "node_role_name": cluster.node_role_name,
        "private_subnet_ids": network.private_subnet_ids_by_zone,
        "secret_store": operators.secret_store,
        "prometheus_address": operators.prometheus_address,
    }


def _network_args(settings: ClusterSettings, cluster_name: str, tags: dict[str, str]) -> NetworkArgs:
    return NetworkArgs(
        cluster_name=cluster_name,
        cidr=settings.cidr,
        zone_ids=network_zones(settings),
        region=settings.region,
        interface_endpoints=settings.interface_endpoints,
        nat_per_zone=settings.nat_per_zone,
        flow_log_days=settings.flow_log_days,
        permissions_boundary=settings.permissions_boundary_arn,
        tags=tags,
    )


def _cluster_args(settings: ClusterSettings, network: Network, tags: dict[str, str]) -> ClusterArgs:
    return ClusterArgs(
        kubernetes_version=settings.kubernetes_version,
        private_subnet_ids=network.private_subnet_ids_by_zone,
        routes=network.routes,
        admin_role_arns=settings.admin_role_arns,
        public_access_cidrs=settings.public_access_cidrs,
        api_access_cidrs=settings.api_access_cidrs,
        addons=kubernetes_version(settings.kubernetes_version, "tonnage:kubernetesVersion").addons,
        system_instance_type=settings.system_nodes.instance_type,
        system_nodes=system_nodes_of(settings).by_zone,
        system_disk_gib=settings.system_nodes.disk_gib,
        deletion_protection=settings.protect,
        permissions_boundary=settings.permissions_boundary_arn,
        tags=tags,
    )


def _operators_args(
    settings: ClusterSettings, network: Network, cluster: Cluster, name: str, tags: dict[str, str]
) -> OperatorsArgs:
    return OperatorsArgs(
        charts=versions.CHARTS,
        cluster_name=cluster.cluster_name,
        cluster_arn=cluster.cluster_arn,
        vpc_id=network.vpc_id,
        region=settings.region,
        secrets_prefix=secrets_prefix(name.removeprefix("tonnage-")),
        registry_mirror=settings.registry_mirror,
        permissions_boundary=settings.permissions_boundary_arn,
        tags=tags,
    )
