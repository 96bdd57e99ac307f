"""VPC: subnets by zone id, NAT, endpoints, closed default security group, optional flow logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.cluster.network.documents import (
    SubnetPair,
    endpoint_service,
    private_subnet_tags,
    public_subnet_tags,
    subnet_layout,
)
from components.cluster.network.policy import flow_log_policy
from components.common.arguments import require_list, require_number, require_tags, require_text
from components.common.iam import assume_role_by_service
from components.common.tags import named


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What the network is for.

    ``cluster_name`` is the value of the discovery tag. ``interface_endpoints`` are short service names (``ecr.api``,
    ``sts``); each costs per zone-hour, the S3 gateway endpoint is always there and free. ``nat_per_zone`` keeps
    the other zones online when one is lost. ``flow_log_days`` 0 means no flow logs.
    """

    cluster_name: str
    cidr: str
    zone_ids: tuple[str, ...]
    region: str
    interface_endpoints: tuple[str, ...] = ()
    nat_per_zone: bool = False
    flow_log_days: int = 0
    permissions_boundary: str | None = None
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse bad lists, ranges and zones before anything is registered."""
        require_text("network.clusterName", self.cluster_name)
        require_text("network.region", self.region)
        require_list("network.zoneIds", self.zone_ids, at_least=2)
        require_list("network.interfaceEndpoints", self.interface_endpoints)
        require_number("network.flowLogDays", self.flow_log_days, at_least=0, at_most=3653)
        require_tags("network.tags", self.tags)
        subnet_layout(self.cidr, self.zone_ids)


class Network(pulumi.ComponentResource):
    """A VPC whose nodes are private; ids of private subnets also by zone id for pools that need certain zones."""

    vpc_id: pulumi.Output[str]
    private_subnet_ids: list[pulumi.Output[str]]
    private_subnet_ids_by_zone: dict[str, pulumi.Output[str]]
    public_subnet_ids: list[pulumi.Output[str]]
    routes: list[pulumi.Resource]
    """The way out of the private subnets: nodes cannot join, and controllers cannot clean up, without it."""

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:Network", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self.routes = []
        self._vpc = self._make_vpc()
        layout = subnet_layout(args.cidr, args.zone_ids)
        public = {pair.zone_id: self._public_subnet(pair) for pair in layout}
        private = {pair.zone_id: self._private_subnet(pair) for pair in layout}
        self._route_public(public)
        tables = self._route_private(public, private)
        self._endpoints(list(private.values()), tables)
        if args.flow_log_days:
            self._flow_logs()
        self.vpc_id = self._vpc.id
        self.private_subnet_ids_by_zone = {zone: subnet.id for zone, subnet in private.items()}
        self.private_subnet_ids = list(self.private_subnet_ids_by_zone.values())
        self.public_subnet_ids = [subnet.id for subnet in public.values()]
        self.register_outputs(
            {
                "vpcId": self.vpc_id,
                "privateSubnetIds": self.private_subnet_ids,
                "privateSubnetIdsByZone": self.private_subnet_ids_by_zone,
                "publicSubnetIds": self.public_subnet_ids,
            }
        )

    def _tags(self, suffix: str = "") -> dict[str, str]:
        return named(self._args.tags, f"{self._name}{suffix}")

    def _make_vpc(self) -> aws.ec2.Vpc:
        vpc = aws.ec2.Vpc(
            f"{self._name}-vpc",
            cidr_block=self._args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=self._tags(),
            opts=self._child,
        )
        # The default group lets its members talk to each other and out; nothing uses it, so it gets no rule.
        aws.ec2.DefaultSecurityGroup(
            f"{self._name}-default", vpc_id=vpc.id, ingress=[], egress=[], tags=self._tags("-closed"), opts=self._child
        )
        return vpc

    def _private_subnet(self, pair: SubnetPair) -> aws.ec2.Subnet:
        name = f"{self._name}-private-{pair.zone_id}"
        return aws.ec2.Subnet(
            name,
            vpc_id=self._vpc.id,
            availability_zone_id=pair.zone_id,
            cidr_block=pair.private_cidr,
            map_public_ip_on_launch=False,
            tags=private_subnet_tags(self._args.tags, name, self._args.cluster_name),
            opts=self._child,
        )

    def _public_subnet(self, pair: SubnetPair) -> aws.ec2.Subnet:
        name = f"{self._name}-public-{pair.zone_id}"
        return aws.ec2.Subnet(
            name,
            vpc_id=self._vpc.id,
            availability_zone_id=pair.zone_id,
            cidr_block=pair.public_cidr,
            map_public_ip_on_launch=False,
            tags=public_subnet_tags(self._args.tags, name),
            opts=self._child,
        )

    def _route_public(self, subnets: Mapping[str, aws.ec2.Subnet]) -> None:
        gateway = aws.ec2.InternetGateway(
            f"{self._name}-internet", vpc_id=self._vpc.id, tags=self._tags("-internet"), opts=self._child
        )
        table = aws.ec2.RouteTable(
            f"{self._name}-public", vpc_id=self._vpc.id, tags=self._tags("-public"), opts=self._child
        )
        self._internet_route = aws.ec2.Route(
            f"{self._name}-public-internet",
            route_table_id=table.id,
            destination_cidr_block="0.0.0.0/0",
            gateway_id=gateway.id,
            opts=self._child,
        )
        for zone, subnet in subnets.items():
            self.routes.append(
                aws.ec2.RouteTableAssociation(
                    f"{self._name}-public-{zone}", route_table_id=table.id, subnet_id=subnet.id, opts=self._child
                )
            )

    def _nat(self, zone: str, subnet: aws.ec2.Subnet) -> aws.ec2.NatGateway:
        address = aws.ec2.Eip(
            f"{self._name}-nat-{zone}", domain="vpc", tags=self._tags(f"-nat-{zone}"), opts=self._child
        )
        # A NAT gateway needs the way out of its subnet, which it does not name itself.
        after_route = pulumi.ResourceOptions(parent=self, depends_on=[self._internet_route])
        return aws.ec2.NatGateway(
            f"{self._name}-nat-{zone}",
            allocation_id=address.id,
            subnet_id=subnet.id,
            tags=self._tags(f"-nat-{zone}"),
            opts=after_route,
        )

    def _route_private(
        self, public: Mapping[str, aws.ec2.Subnet], private: Mapping[str, aws.ec2.Subnet]
    ) -> list[aws.ec2.RouteTable]:
        zones = self._args.zone_ids if self._args.nat_per_zone else self._args.zone_ids[:1]
        nats = {zone: self._nat(zone, public[zone]) for zone in zones}
        tables = []
        for zone, subnet in private.items():
            name = f"{self._name}-private-{zone}"
            table = aws.ec2.RouteTable(name, vpc_id=self._vpc.id, tags=self._tags(f"-private-{zone}"), opts=self._child)
            way_out = aws.ec2.Route(
                f"{name}-nat",
                route_table_id=table.id,
                destination_cidr_block="0.0.0.0/0",
                nat_gateway_id=nats.get(zone, nats[zones[0]]).id,
                opts=self._child,
            )
            chosen = aws.ec2.RouteTableAssociation(name, route_table_id=table.id, subnet_id=subnet.id, opts=self._child)
            self.routes += [way_out, chosen]
            tables.append(table)
        return tables

    def _endpoints(self, subnets: list[aws.ec2.Subnet], tables: list[aws.ec2.RouteTable]) -> None:
        # Weights and image layers come from S3: through the gateway endpoint they pay no NAT processing.
        aws.ec2.VpcEndpoint(
            f"{self._name}-s3",
            vpc_id=self._vpc.id,
            service_name=endpoint_service(self._args.region, "s3"),
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            tags=self._tags("-s3"),
            opts=self._child,
        )
        if not self._args.interface_endpoints:
            return
        group = self._endpoint_security_group()
        for service in sorted(self._args.interface_endpoints):
            aws.ec2.VpcEndpoint(
                f"{self._name}-{service.replace('.', '-')}",
                vpc_id=self._vpc.id,
                service_name=endpoint_service(self._args.region, service),
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=[subnet.id for subnet in subnets],
                security_group_ids=[group.id],
                tags=self._tags(f"-{service}"),
                opts=self._child,
            )

    def _endpoint_security_group(self) -> aws.ec2.SecurityGroup:
        return aws.ec2.SecurityGroup(
            f"{self._name}-endpoints",
            description="HTTPS from inside the VPC to interface endpoints",
            vpc_id=self._vpc.id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    description="HTTPS from the VPC",
                    protocol="tcp",
                    from_port=443,
                    to_port=443,
                    cidr_blocks=[self._args.cidr],
                )
            ],
            egress=[],
            tags=self._tags("-endpoints"),
            opts=self._child,
        )

    def _flow_logs(self) -> None:
        group = aws.cloudwatch.LogGroup(
            f"{self._name}-flow",
            name=f"/tonnage/{self._args.cluster_name}/flow",
            retention_in_days=self._args.flow_log_days,
            tags=self._tags("-flow"),
            opts=self._child,
        )
        role = aws.iam.Role(
            f"{self._name}-flow",
            assume_role_policy=assume_role_by_service("vpc-flow-logs.amazonaws.com"),
            permissions_boundary=self._args.permissions_boundary,
            tags=self._tags("-flow"),
            opts=self._child,
        )
        aws.iam.RolePolicy(
            f"{self._name}-flow", role=role.id, policy=group.arn.apply(flow_log_policy), opts=self._child
        )
        aws.ec2.FlowLog(
            f"{self._name}-flow",
            vpc_id=self._vpc.id,
            traffic_type="REJECT",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            tags=self._tags("-flow"),
            opts=self._child,
        )
