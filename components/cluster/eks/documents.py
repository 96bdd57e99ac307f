"""EKS: which add-ons come when, which managed policies who gets, and checks of what would be unsafe."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.common.names import MOST_NODE_GROUP_NAME, with_digest
from components.common.tags import SYSTEM_NODE_SELECTOR
from sizing.errors import BadInput

ADDON_NAMESPACE = "kube-system"
CONTROL_PLANE_POLICIES = ("AmazonEKSClusterPolicy",)
NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
"""The least that a node needs; the network plugin has a role of its own, nobody logs in to nodes."""
CONTROL_PLANE_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
ADMIN_POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
BEFORE_NODES = ("vpc-cni", "kube-proxy", "eks-pod-identity-agent")
"""Needed for a node to become Ready; they are DaemonSets and install without nodes."""
AFTER_NODES = ("coredns", "aws-ebs-csi-driver", "eks-node-monitoring-agent", "metrics-server")
"""Have pods that must be scheduled before the add-on is healthy."""
REQUIRED_ADDONS = ("vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent")
ROLE_ARN = re.compile(r"^arn:aws[a-z-]*:iam::\d{12}:role/(?:[\w+=,.@-]+/)*([\w+=,.@-]{1,64})$")
ADDON_VERSION = re.compile(r"^v\d+\.\d+\.\d+-eksbuild\.\d+$")


@dataclass(frozen=True, kw_only=True)
class AddonIdentity:
    """The service account of an add-on and the AWS managed policy of its role."""

    service_account: str
    policy: str


ADDON_IDENTITIES: Mapping[str, AddonIdentity] = {
    "aws-ebs-csi-driver": AddonIdentity(
        service_account="ebs-csi-controller-sa", policy="service-role/AmazonEBSCSIDriverPolicy"
    ),
    "vpc-cni": AddonIdentity(service_account="aws-node", policy="AmazonEKS_CNI_Policy"),
}


def role_name(arn: str) -> str:
    """Return the last part of a role's ARN; raises ``BadInput`` for anything else."""
    match = ROLE_ARN.match(arn)
    if match is None:
        raise BadInput("cluster.adminRoleArns", f"{arn!r} is not a role", way_out="arn:aws:iam::ACCOUNT:role/NAME")
    return match.group(1)


def check_admin_roles(arns: Sequence[str]) -> None:
    """Raise ``BadInput`` unless every ARN names a role and no two roles have one name."""
    names = [role_name(arn) for arn in arns]
    for name in names:
        if names.count(name) > 1:
            raise BadInput("cluster.adminRoleArns", f"two roles are called {name}", way_out="rename one of them")


def check_networks(where: str, cidrs: Sequence[str]) -> None:
    """Raise ``BadInput`` for a network that may reach the API and is none or the whole internet."""
    for cidr in cidrs:
        try:
            network = ipaddress.ip_network(cidr)
        except ValueError as error:
            raise BadInput(where, f"{cidr!r}: {error}", way_out="for example 203.0.113.0/24") from None
        if network.prefixlen == 0:
            raise BadInput(
                where, f"{cidr} opens the API to everybody", way_out="list your own networks, or none for private only"
            )


def source(cidr: str) -> dict[str, str]:
    """Return the argument of a security group's rule that names a network."""
    return {"cidr_ipv6" if ":" in cidr else "cidr_ipv4": cidr}


def network_name(cidr: str) -> str:
    """Return a network as part of a resource's name: ``10.20.0.0-16``."""
    return cidr.replace("/", "-").replace(":", ".")


def check_addons(addons: object) -> None:
    """Raise ``BadInput`` for an unknown, missing or unpinned add-on."""
    where = "cluster.addons"
    if not isinstance(addons, Mapping):
        raise BadInput(where, f"{addons!r} is not a mapping", way_out="map add-on names to versions")
    known = (*BEFORE_NODES, *AFTER_NODES)
    for name, version in sorted(addons.items()):
        if name not in known:
            raise BadInput(f"{where}.{name}", "is not known here", way_out=f"one of {', '.join(sorted(known))}")
        if not ADDON_VERSION.match(str(version)):
            raise BadInput(f"{where}.{name}", f"{version!r} is not one version", way_out="pin it as v1.2.3-eksbuild.1")
    missing = [name for name in REQUIRED_ADDONS if name not in addons]
    if missing:
        raise BadInput(where, f"{', '.join(missing)} missing", way_out="nodes do not become Ready without them")


def addon_configuration(addon: str) -> str | None:
    """Return the configuration document of an add-on, or None where its defaults are right."""
    selector = dict(SYSTEM_NODE_SELECTOR)
    values: dict[str, object] = {
        "coredns": {"nodeSelector": selector},
        "aws-ebs-csi-driver": {"controller": {"nodeSelector": selector}},
        "metrics-server": {"nodeSelector": selector},
        # By default the part that asks the GPUs how they are tolerates no taint, and so is on no GPU node.
        "eks-node-monitoring-agent": {"dcgmAgent": {"tolerations": [{"operator": "Exists"}]}},
        # Prefixes of 16 addresses: a GPU node starts many DaemonSet pods at once.
        "vpc-cni": {"enableNetworkPolicy": "true", "env": {"ENABLE_PREFIX_DELEGATION": "true"}},
    }
    return json.dumps(values[addon], sort_keys=True) if addon in values else None


def system_node_group_name(name: str, zone: str, instance_type: str) -> str:
    """Return a name that changes when the group must be replaced, so that the new one can exist beside the old."""
    return with_digest(f"{name}-{zone}", f"{name}|{zone}|{instance_type}", MOST_NODE_GROUP_NAME)


def check_system_nodes(nodes: object, zones: object) -> None:
    """Raise ``BadInput`` unless ``nodes`` maps zones that have a subnet to at least one node."""
    where = "cluster.systemNodes"
    if not isinstance(nodes, Mapping) or not isinstance(zones, Mapping):
        raise BadInput(where, f"{nodes!r} is not by zone", way_out="map zone ids to nodes, and to their subnets")
    missing = sorted(set(nodes) - set(zones))
    if missing:
        raise BadInput(where, f"{', '.join(missing)} have no subnet", limit=f"zones {', '.join(sorted(zones))}")
    if not nodes or any(count < 1 for count in nodes.values()):
        raise BadInput(where, f"{dict(nodes)}", limit="at least one node in each zone that is named")
