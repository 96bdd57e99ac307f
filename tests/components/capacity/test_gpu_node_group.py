"""The on-demand floor as a managed node group."""

import base64
from dataclasses import replace

import pytest

from components.capacity.gpu_node_group.component import GpuNodeGroup, GpuNodeGroupArgs
from components.capacity.gpu_node_group.documents import node_group_name
from sizing.errors import BadInput
from tests.support.golden import assert_golden
from tests.support.plans import node_pool_plan

POOL = node_pool_plan(floor_instances=2, expected_instances=2, ceiling_instances=2)
SUBNETS = {zone: f"subnet-{zone}" for zone in POOL.zones}
ARGS = GpuNodeGroupArgs(
    pool=POOL,
    cluster_name="tonnage-prod",
    node_role_arn="arn:aws:iam::123456789012:role/tonnage-prod-node",
    kubernetes_version="1.36",
    subnet_ids={**SUBNETS, "use1-az9": "subnet-elsewhere"},
    tags={"tonnage:stack": "prod"},
)


@pytest.fixture
def recording(engine):
    return engine.run(lambda: GpuNodeGroup("floor", ARGS))


def test_the_group_and_its_template_are_the_committed_ones(recording):
    group = recording.one("aws:eks/nodeGroup:NodeGroup").props
    template = dict(recording.one("aws:ec2/launchTemplate:LaunchTemplate").props)
    template["userData"] = base64.b64decode(template["userData"]).decode().splitlines()
    assert_golden("gpu_node_group", {"NodeGroup": group, "LaunchTemplate": template})


def test_an_update_never_runs_more_machines_than_the_plan_paid_for(recording):
    update = recording.one("aws:eks/nodeGroup:NodeGroup").props["updateConfig"]
    assert update == {"maxUnavailable": 1, "updateStrategy": "MINIMAL"}


def test_disk_size_stands_in_the_template_only(recording):
    assert "diskSize" not in recording.one("aws:eks/nodeGroup:NodeGroup").props
    (device,) = recording.one("aws:ec2/launchTemplate:LaunchTemplate").props["blockDeviceMappings"]
    assert device["ebs"]["volumeSize"] == POOL.disk.size_gib
    assert device["ebs"]["encrypted"] == "true"


def test_subnets_are_those_of_the_pools_zones(recording):
    assert recording.one("aws:eks/nodeGroup:NodeGroup").props["subnetIds"] == [SUBNETS[zone] for zone in POOL.zones]


def test_the_floor_runs_always_and_grows_to_the_plans_ceiling(engine):
    grown = replace(ARGS, pool=replace(POOL, ceiling_instances=3))
    sizes = engine.run(lambda: GpuNodeGroup("floor", grown)).one("aws:eks/nodeGroup:NodeGroup").props["scalingConfig"]
    assert sizes == {"minSize": 2, "desiredSize": 2, "maxSize": 3}


def test_tags_reach_machines_disks_and_interfaces(recording):
    specifications = recording.one("aws:ec2/launchTemplate:LaunchTemplate").props["tagSpecifications"]
    assert {each["resourceType"] for each in specifications} == {"instance", "volume", "network-interface"}
    assert all(each["tags"]["tonnage:stack"] == "prod" for each in specifications)


def test_a_change_that_replaces_the_group_gives_it_another_name():
    name = node_group_name("floor", POOL, "AL2023_x86_64_NVIDIA")
    assert node_group_name("floor", replace(POOL, ceiling_instances=9), "AL2023_x86_64_NVIDIA") == name
    assert node_group_name("floor", replace(POOL, zones=POOL.zones[:1]), "AL2023_x86_64_NVIDIA") != name
    assert len(node_group_name("floor", replace(POOL, name="a" * 80), "AL2023_x86_64_NVIDIA")) <= 63


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"pool": replace(POOL, kind="karpenter")}, "kind is karpenter; limit: managed"),
        ({"pool": replace(POOL, offers=())}, "no instance type"),
        ({"subnet_ids": {}}, f"{', '.join(sorted(POOL.zones))} have no subnet"),
        ({"subnet_ids": ["subnet-1"]}, "subnets are not given by zone id"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_registered(changes, line):
    with pytest.raises(BadInput) as caught:
        replace(ARGS, **changes)
    assert line in caught.value.line()
