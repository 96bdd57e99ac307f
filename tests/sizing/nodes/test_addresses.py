"""Addresses of a subnet against the nodes at the ceiling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from sizing.nodes.addresses import check_addresses, node_addresses, usable_addresses
from sizing.nodes.system_nodes import SystemNodes
from tests.support.plans import node_pool_plan

NODES = SystemNodes(instance=load_catalogue().instance("m7i.large"), by_zone={"use1-az1": 1, "use1-az2": 1})
SUBNETS = {"use1-az1": "10.40.0.0/23", "use1-az2": "10.40.2.0/23"}


@pytest.mark.parametrize(("pods", "addresses"), [(1, 33), (16, 33), (17, 49), (58, 81)])
def test_a_node_takes_whole_blocks_one_spare_and_its_own_address(pods, addresses):
    assert node_addresses(pods) == addresses


def test_what_aws_keeps_of_a_subnet_is_not_counted():
    assert usable_addresses("10.40.0.0/23") == 512 - 5 - 24


def test_the_last_node_that_fits_is_let_through_and_one_more_is_refused():
    def fleet(nodes: int):
        return [replace(node_pool_plan(), zones=("use1-az1", "use1-az2"), ceiling_instances=nodes)]

    check_addresses(SUBNETS, NODES, fleet(26))
    with pytest.raises(BadInput) as refused:
        check_addresses(SUBNETS, NODES, fleet(27))
    assert refused.value.line() == (
        "subnet of use1-az1: 14 GPU nodes at the ceiling and 1 system nodes take 511 addresses, 33 and 49 each; "
        "limit: 483 of 10.40.0.0/23; hint: a cluster stack with a wider tonnage:cidr, more zones in tonnage:capacity, "
        "or a lower ceiling"
    )
