"""What spans two stacks: the plan of a serving stack against the cluster that it deploys on, before anything is made.

The cluster stack exports what is compared (``infra.outputs``), so the offline preview and a real update check the same.
"""

from __future__ import annotations

from components.common.iam import parse_arn
from infra.kubernetes_versions import KubernetesVersion, kubernetes_version
from infra.outputs import ClusterOutputs
from infra.provider_outputs import ACCOUNT_ID
from infra.settings.serving import ServingSettings
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.nodes.addresses import check_addresses
from sizing.nodes.system_nodes import SystemNodes, check_fit
from sizing.plan import StackPlan


def check_against_cluster(settings: ServingSettings, plan: StackPlan, cluster: ClusterOutputs) -> KubernetesVersion:
    """Return what the nodes of this cluster run; BadInput for the first thing that the cluster cannot hold."""
    _check_region(settings, cluster)
    _check_zones(plan, cluster)
    nodes = system_nodes(cluster)
    check_fit(nodes, plan.vector_store, plan.gateway.proxies)
    check_addresses(cluster.private_cidrs, nodes, plan.pools)
    _check_account(settings, cluster)
    _check_secrets(settings, cluster)
    return kubernetes_version(cluster.kubernetes_version, f"Kubernetes of {cluster.cluster_name}")


def system_nodes(cluster: ClusterOutputs) -> SystemNodes:
    """Return the system nodes that a cluster stack exports; the engine hands numbers over as floats."""
    by_zone = {zone: int(count) for zone, count in cluster.system_nodes.items()}
    return SystemNodes(instance=load_catalogue().instance(cluster.system_instance_type), by_zone=by_zone)


def _check_region(settings: ServingSettings, cluster: ClusterOutputs) -> None:
    """Refuse a cluster of another region: its subnets, roles and registry are not where this stack buys."""
    if settings.region != cluster.region:
        raise BadInput(
            "aws:region",
            f"{settings.region}, but {cluster.cluster_name} is in {cluster.region}",
            limit="the region of the cluster",
            way_out=f"aws:region {cluster.region}, or another tonnage:clusterStack",
        )


def _check_zones(plan: StackPlan, cluster: ClusterOutputs) -> None:
    """Refuse pools in zones where the cluster has no subnet: the node group would fail during ``up``."""
    for pool in plan.pools:
        missing = sorted(set(pool.zones) - set(cluster.private_subnet_ids))
        if missing:
            raise BadInput(
                f"pools.{pool.name}.zones",
                f"{', '.join(missing)} have no subnet in {cluster.cluster_name}",
                limit=f"zones of the cluster: {', '.join(sorted(cluster.private_subnet_ids))}",
                way_out="add them to tonnage:zoneIds of the cluster stack",
            )


def _check_account(settings: ServingSettings, cluster: ClusterOutputs) -> None:
    """Refuse what lies in another account than the cluster; an offline preview has the account of the examples."""
    own = parse_arn(cluster.cluster_arn).account
    declared = {
        "tonnage:gateway.apiKeysSecretArn": settings.gateway.api_keys_secret_arn,
        "tonnage:gateway.certificateArn": settings.gateway.certificate_arn,
        "tonnage:hubSecretArn": settings.hub_secret_arn,
    }
    for key, arn in declared.items():
        if arn and own not in {ACCOUNT_ID, parse_arn(arn).account}:
            raise BadInput(
                key,
                f"is in account {parse_arn(arn).account}, {cluster.cluster_name} in {own}",
                limit="the account of the cluster",
                way_out=f"make one in {own} and give its ARN",
            )


def _check_secrets(settings: ServingSettings, cluster: ClusterOutputs) -> None:
    """Refuse secrets that the External Secrets of this cluster may not read: pods would wait for them forever."""
    declared = {
        "tonnage:gateway.apiKeysSecretArn": settings.gateway.api_keys_secret_arn,
        "tonnage:hubSecretArn": settings.hub_secret_arn,
    }
    for key, arn in sorted(declared.items()):
        name = parse_arn(arn).resource.removeprefix("secret:") if arn else ""
        if arn and not name.startswith(f"{cluster.secrets_prefix}/"):
            raise BadInput(
                key,
                f"{name} cannot be read by {cluster.cluster_name}",
                limit=f"secrets named {cluster.secrets_prefix}/...",
                way_out="copy the secret to a name under that prefix",
            )
