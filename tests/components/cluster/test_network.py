"""Addresses and ways in and out of the VPC."""

from dataclasses import replace

import pytest

from components.cluster.network.component import Network, NetworkArgs
from components.cluster.network.documents import subnet_layout
from sizing.errors import BadInput

ARGS = NetworkArgs(
    cluster_name="tonnage-dev",
    cidr="10.40.0.0/16",
    zone_ids=("use1-az1", "use1-az4"),
    region="us-east-1",
    interface_endpoints=("sts", "ecr.api"),
    tags={"tonnage:stack": "dev-cluster"},
)


def record(engine, **changes):
    return engine.run(lambda: Network("network", replace(ARGS, **changes)))


def of(recording, token):
    return [each for each in recording.resources if each.type == token]


def test_each_zone_has_the_block_of_its_number():
    layout = subnet_layout("10.40.0.0/16", ("use1-az1", "use1-az4"))
    assert [(pair.private_cidr, pair.public_cidr) for pair in layout] == [
        ("10.40.0.0/19", "10.40.224.0/22"),
        ("10.40.96.0/19", "10.40.236.0/22"),
    ]


def test_another_zone_moves_no_subnet():
    before = subnet_layout("10.40.0.0/16", ("use1-az1", "use1-az4"))
    after = subnet_layout("10.40.0.0/16", ("use1-az1", "use1-az2", "use1-az4"))
    assert (after[0], after[2]) == before


def test_private_subnets_are_found_by_karpenter_and_internal_load_balancers(engine):
    subnet = record(engine).one("aws:ec2/subnet:Subnet", "network-private-use1-az4")
    assert subnet.props["availabilityZoneId"] == "use1-az4"
    assert subnet.props["tags"] == {
        "Name": "network-private-use1-az4",
        "karpenter.sh/discovery": "tonnage-dev",
        "kubernetes.io/role/internal-elb": "1",
        "tonnage:stack": "dev-cluster",
    }


@pytest.mark.parametrize(("per_zone", "gateways"), [(False, 1), (True, 2)])
def test_nat_gateways_are_one_or_one_per_zone(engine, per_zone, gateways):
    recording = record(engine, nat_per_zone=per_zone)
    nats = {each.id for each in of(recording, "aws:ec2/natGateway:NatGateway")}
    routes = {each.props.get("natGatewayId") for each in of(recording, "aws:ec2/route:Route")} - {None}
    assert len(nats) == gateways
    assert routes == nats


def test_s3_is_reached_through_a_gateway_endpoint_on_every_private_route_table(engine):
    recording = record(engine)
    endpoints = {each.name: each.props for each in of(recording, "aws:ec2/vpcEndpoint:VpcEndpoint")}
    assert sorted(endpoints) == ["network-ecr-api", "network-s3", "network-sts"]
    assert endpoints["network-s3"]["vpcEndpointType"] == "Gateway"
    assert len(endpoints["network-s3"]["routeTableIds"]) == 2
    assert endpoints["network-ecr-api"]["serviceName"] == "com.amazonaws.us-east-1.ecr.api"


def test_the_default_security_group_has_no_rule(engine):
    group = record(engine).one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert (group.props["ingress"], group.props["egress"]) == ([], [])


def test_flow_logs_are_kept_as_long_as_asked_and_off_by_default(engine):
    assert not of(record(engine), "aws:ec2/flowLog:FlowLog")
    group = record(engine, flow_log_days=7).one("aws:cloudwatch/logGroup:LogGroup")
    assert (group.props["name"], group.props["retentionInDays"]) == ("/tonnage/tonnage-dev/flow", 7)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"zone_ids": "use1-az1"}, "network.zoneIds: 'use1-az1' is str, not a list"),
        ({"zone_ids": ("use1-az1",)}, "limit: at least 2"),
        ({"zone_ids": ("us-east-1a", "use1-az1")}, "'us-east-1a' is not a zone id"),
        ({"zone_ids": ("use1-az1", "use1-az1")}, "use1-az1 is listed twice"),
        ({"cidr": "10.40.0.0/24"}, "limit: /16 to /20"),
        ({"cidr": "10.40.0.1/16"}, "has host bits set"),
        ({"cidr": "8.8.0.0/16"}, "8.8.0.0/16 is no private range; limit: RFC 1918 or 100.64.0.0/10"),
        ({"cidr": "127.0.0.0/16"}, "127.0.0.0/16 is no private range"),
        ({"cidr": "169.254.0.0/16"}, "169.254.0.0/16 is no private range"),
        ({"interface_endpoints": "sts"}, "network.interfaceEndpoints: 'sts' is str, not a list"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_registered(changes, line):
    with pytest.raises(BadInput) as caught:
        replace(ARGS, **changes)
    assert line in caught.value.line()
    assert "\n" not in caught.value.line()
