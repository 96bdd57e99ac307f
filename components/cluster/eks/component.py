"""EKS cluster: access entries, Pod Identity, encrypted secrets, pinned add-ons in order, system nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.cluster.eks import documents
from components.cluster.eks.policy import control_plane_trust
from components.common.arguments import require_list, require_number, require_tags, require_text
from components.common.iam import assume_role_by_pods, assume_role_by_service
from components.common.launch_template import node_launch_template
from components.common.node import SYSTEM_AMI_TYPE, node_config
from components.common.tags import DISCOVERY_TAG, SYSTEM_NODE_SELECTOR, named
from sizing.errors import BadInput
from sizing.plan import Disk

RoleWithPolicies = tuple[aws.iam.Role, list[aws.iam.RolePolicyAttachment]]
"""A role is of use only once its policies are attached, so both are waited for."""


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """The control plane and the nodes that run operators; GPU nodes come later.

    The component's name is the cluster's name. ``admin_role_arns`` must include the role that deploys: nobody else
    gets access, also not the creator. ``public_access_cidrs`` empty means a private endpoint only, which admits nodes
    and ``api_access_cidrs``.
    ``private_subnet_ids`` and ``system_nodes`` go by zone id: each zone that has system nodes has a group of its own.
    ``addons`` maps add-on names to exact versions. ``routes`` is the way out of the subnets, which nodes wait for.
    """

    kubernetes_version: str
    private_subnet_ids: Mapping[str, pulumi.Input[str]]
    admin_role_arns: tuple[str, ...]
    addons: Mapping[str, str]
    system_instance_type: str
    system_nodes: Mapping[str, int]
    system_disk_gib: int
    tags: Mapping[str, str]
    public_access_cidrs: tuple[str, ...] = ()
    api_access_cidrs: tuple[str, ...] = ()
    deletion_protection: bool = True
    log_retention_days: int = 30
    service_cidr: str | None = None
    system_release_version: str | None = None
    routes: Sequence[pulumi.Resource] = ()
    permissions_boundary: str | None = None

    def __post_init__(self) -> None:
        """Refuse bad lists, open networks and unpinned add-ons before anything is registered."""
        require_text("cluster.kubernetesVersion", self.kubernetes_version)
        documents.check_system_nodes(self.system_nodes, self.private_subnet_ids)
        require_list("cluster.privateSubnetIds", [*self.private_subnet_ids.values()], at_least=2, wired=True)
        require_list("cluster.adminRoleArns", self.admin_role_arns, at_least=1)
        require_list("cluster.publicAccessCidrs", self.public_access_cidrs)
        require_list("cluster.apiAccessCidrs", self.api_access_cidrs)
        require_number("cluster.systemDiskGib", self.system_disk_gib, at_least=20, at_most=16384)
        require_tags("cluster.tags", self.tags)
        documents.check_admin_roles(self.admin_role_arns)
        documents.check_networks("cluster.publicAccessCidrs", self.public_access_cidrs)
        documents.check_networks("cluster.apiAccessCidrs", self.api_access_cidrs)
        documents.check_addons(self.addons)
        if self.system_instance_type.count(".") != 1:
            raise BadInput("cluster.systemInstanceType", f"{self.system_instance_type!r} is not an instance type")


class Cluster(pulumi.ComponentResource):
    """A private EKS cluster. ``ready`` is what in-cluster resources wait for: nodes and add-ons are up."""

    cluster_name: pulumi.Output[str]
    cluster_arn: pulumi.Output[str]
    kubernetes_version: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    certificate_authority: pulumi.Output[str]
    security_group_id: pulumi.Output[str]
    node_role_arn: pulumi.Output[str]
    node_role_name: pulumi.Output[str]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:Cluster", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.eks_cluster = self._control_plane()
        admins = self._admins()
        before = self._addons(documents.BEFORE_NODES, after=admins)
        trust = assume_role_by_service("ec2.amazonaws.com")
        node_role, attached = self._role("node", trust, documents.NODE_POLICIES)
        nodes = self._system_nodes(node_role, after=[*before, *attached, *args.routes])
        self.ready = [*nodes, *self._addons(documents.AFTER_NODES, after=nodes), *self._api_access()]
        self._tag_security_group()
        self._set_outputs(node_role)

    def _set_outputs(self, node_role: aws.iam.Role) -> None:
        self.cluster_name = self.eks_cluster.name
        self.cluster_arn = self.eks_cluster.arn
        self.kubernetes_version = self.eks_cluster.version
        self.endpoint = self.eks_cluster.endpoint
        self.certificate_authority = self.eks_cluster.certificate_authority.data
        self.security_group_id = self.eks_cluster.vpc_config.cluster_security_group_id
        self.node_role_arn = node_role.arn
        self.node_role_name = node_role.name
        self.register_outputs(
            {
                "clusterName": self.cluster_name,
                "clusterArn": self.cluster_arn,
                "kubernetesVersion": self.kubernetes_version,
                "endpoint": self.endpoint,
                "certificateAuthority": self.certificate_authority,
                "securityGroupId": self.security_group_id,
                "nodeRoleArn": self.node_role_arn,
                "nodeRoleName": self.node_role_name,
            }
        )

    def _tags(self, suffix: str = "") -> dict[str, str]:
        return named(self._args.tags, f"{self._name}{suffix}")

    def _after(self, resources: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(resources))

    def _role(self, suffix: str, trust: pulumi.Input[str], managed: Sequence[str]) -> RoleWithPolicies:
        role = aws.iam.Role(
            f"{self._name}-{suffix}",
            name=f"{self._name}-{suffix}",
            assume_role_policy=trust,
            permissions_boundary=self._args.permissions_boundary,
            tags=self._tags(f"-{suffix}"),
            opts=self._child,
        )
        attachments = [
            aws.iam.RolePolicyAttachment(
                f"{self._name}-{suffix}-{policy.rsplit('/', 1)[-1]}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=self._child,
            )
            for policy in managed
        ]
        return role, attachments

    def _secrets_key(self) -> aws.kms.Key:
        key = aws.kms.Key(
            f"{self._name}-secrets",
            description=f"Kubernetes secrets of {self._name}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            tags=self._tags("-secrets"),
            opts=self._child,
        )
        aws.kms.Alias(
            f"{self._name}-secrets", name=f"alias/{self._name}-secrets", target_key_id=key.key_id, opts=self._child
        )
        return key

    def _control_plane(self) -> aws.eks.Cluster:
        args = self._args
        # EKS makes the log group itself when it is missing, without retention; so it must exist before.
        logs = aws.cloudwatch.LogGroup(
            f"{self._name}-logs",
            name=f"/aws/eks/{self._name}/cluster",
            retention_in_days=args.log_retention_days,
            tags=self._tags("-logs"),
            opts=self._child,
        )
        role, attached = self._role("control-plane", control_plane_trust(), documents.CONTROL_PLANE_POLICIES)
        return aws.eks.Cluster(
            self._name,
            name=self._name,
            version=args.kubernetes_version,
            role_arn=role.arn,
            vpc_config=self._vpc_config(),
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=False
            ),
            encryption_config=aws.eks.ClusterEncryptionConfigArgs(
                provider=aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=self._secrets_key().arn),
                resources=["secrets"],
            ),
            kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(service_ipv4_cidr=args.service_cidr)
            if args.service_cidr
            else None,
            # Standard support: EKS upgrades the cluster rather than charging six times as much per hour.
            upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
            enabled_cluster_log_types=list(documents.CONTROL_PLANE_LOGS),
            bootstrap_self_managed_addons=False,
            deletion_protection=args.deletion_protection,
            tags=self._tags(),
            opts=self._after([logs, *attached]),
        )

    def _vpc_config(self) -> aws.eks.ClusterVpcConfigArgs:
        cidrs = list(self._args.public_access_cidrs)
        return aws.eks.ClusterVpcConfigArgs(
            subnet_ids=list(self._args.private_subnet_ids.values()),
            endpoint_private_access=True,
            endpoint_public_access=bool(cidrs),
            public_access_cidrs=cidrs or None,
        )

    def _admins(self) -> list[pulumi.Resource]:
        associations: list[pulumi.Resource] = []
        for arn in self._args.admin_role_arns:
            name = f"{self._name}-admin-{documents.role_name(arn)}"
            entry = aws.eks.AccessEntry(
                name,
                cluster_name=self.eks_cluster.name,
                principal_arn=arn,
                type="STANDARD",
                tags=self._tags(),
                opts=self._child,
            )
            associations.append(
                aws.eks.AccessPolicyAssociation(
                    name,
                    cluster_name=self.eks_cluster.name,
                    principal_arn=entry.principal_arn,
                    policy_arn=documents.ADMIN_POLICY,
                    access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
                    opts=self._child,
                )
            )
        return associations

    def _addons(self, names: Sequence[str], *, after: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        return [self._addon(name, after) for name in names if name in self._args.addons]

    def _addon(self, addon: str, after: Sequence[pulumi.Resource]) -> aws.eks.Addon:
        identity = documents.ADDON_IDENTITIES.get(addon)
        associations, attached = None, []
        if identity is not None:
            trust = self.eks_cluster.arn.apply(lambda arn: assume_role_by_pods(arn, documents.ADDON_NAMESPACE))
            role, attached = self._role(addon, trust, [identity.policy])
            associations = [
                aws.eks.AddonPodIdentityAssociationArgs(role_arn=role.arn, service_account=identity.service_account)
            ]
        return aws.eks.Addon(
            f"{self._name}-{addon}",
            cluster_name=self.eks_cluster.name,
            addon_name=addon,
            addon_version=self._args.addons[addon],
            configuration_values=documents.addon_configuration(addon),
            pod_identity_associations=associations,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=self._tags(),
            opts=self._after([*after, *attached]),
        )

    def _system_nodes(self, role: aws.iam.Role, *, after: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        args, name = self._args, f"{self._name}-system"
        disk = Disk(size_gib=args.system_disk_gib, iops=3000, throughput_mib_per_s=125)
        template = node_launch_template(
            name, physical_name=name, disk=disk, config=node_config(local_disks=False), tags=args.tags, opts=self._child
        )
        return [self._system_group(zone, role, template, after) for zone in args.system_nodes]

    def _system_group(
        self, zone: str, role: aws.iam.Role, template: aws.ec2.LaunchTemplate, after: Sequence[pulumi.Resource]
    ) -> aws.eks.NodeGroup:
        """Register the group of one zone: volumes are zonal, so a node that is replaced must come back there."""
        args, name, count = self._args, f"{self._name}-system", self._args.system_nodes[zone]
        # Until groups went by zone there was one; the first of them takes its place.
        former = [pulumi.Alias(name=name)] if zone == next(iter(args.system_nodes)) else []
        return aws.eks.NodeGroup(
            f"{name}-{zone}",
            cluster_name=self.eks_cluster.name,
            node_group_name=documents.system_node_group_name(name, zone, args.system_instance_type),
            node_role_arn=role.arn,
            ami_type=SYSTEM_AMI_TYPE,
            # The output, not the setting: a group cannot be newer than its control plane.
            version=self.eks_cluster.version,
            release_version=args.system_release_version,
            capacity_type="ON_DEMAND",
            instance_types=[args.system_instance_type],
            subnet_ids=[args.private_subnet_ids[zone]],
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(min_size=count, desired_size=count, max_size=count),
            update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
            node_repair_config=aws.eks.NodeGroupNodeRepairConfigArgs(enabled=True),
            labels=dict(SYSTEM_NODE_SELECTOR),
            tags=self._tags(f"-system-{zone}"),
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after), aliases=former),
        )

    def _api_access(self) -> list[pulumi.Resource]:
        # The group that EKS makes admits its own members only: nodes.
        return [
            aws.vpc.SecurityGroupIngressRule(
                f"{self._name}-api-{documents.network_name(cidr)}",
                security_group_id=self.eks_cluster.vpc_config.cluster_security_group_id,
                description="Kubernetes API",
                ip_protocol="tcp",
                from_port=443,
                to_port=443,
                **documents.source(cidr),
                tags=self._tags("-api"),
                opts=self._child,
            )
            for cidr in self._args.api_access_cidrs
        ]

    def _tag_security_group(self) -> None:
        # EKS makes this group itself; Karpenter finds it by the same tag as the subnets.
        aws.ec2.Tag(
            f"{self._name}-discovery",
            resource_id=self.eks_cluster.vpc_config.cluster_security_group_id,
            key=DISCOVERY_TAG,
            value=self._name,
            opts=self._child,
        )
