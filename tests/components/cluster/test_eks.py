"""The EKS control plane, its add-ons and its system nodes."""

import base64
import json
from dataclasses import replace

import pytest

from components.cluster.eks.component import Cluster, ClusterArgs
from components.cluster.eks.documents import ADDON_IDENTITIES, AFTER_NODES, BEFORE_NODES, addon_configuration
from components.cluster.network.component import Network, NetworkArgs
from infra.kubernetes_versions import table
from sizing.errors import BadInput

ADDONS = dict.fromkeys((*BEFORE_NODES, "coredns", "aws-ebs-csi-driver"), "v1.2.3-eksbuild.1")
ARGS = ClusterArgs(
    kubernetes_version="1.36",
    private_subnet_ids={"use1-az1": "subnet-1", "use1-az2": "subnet-2"},
    admin_role_arns=("arn:aws:iam::123456789012:role/ops",),
    addons=ADDONS,
    system_instance_type="m7i.large",
    system_nodes={"use1-az1": 1, "use1-az2": 1},
    system_disk_gib=50,
    tags={"tonnage:stack": "dev-cluster"},
)


@pytest.fixture
def recording(engine):
    return engine.run(lambda: Cluster("tonnage-dev", ARGS))


def needs(resource):
    return {urn.split("$")[-1] for urn in resource.dependencies}


def test_the_control_plane_is_private_encrypted_logged_and_in_standard_support(recording):
    props = recording.one("aws:eks/cluster:Cluster").props
    assert props["vpcConfig"]["endpointPrivateAccess"] is True
    assert props["vpcConfig"]["endpointPublicAccess"] is False
    assert props["accessConfig"] == {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False}
    assert props["upgradePolicy"] == {"supportType": "STANDARD"}
    assert props["deletionProtection"] is True
    assert props["encryptionConfig"]["resources"] == ["secrets"]
    assert props["encryptionConfig"]["provider"]["keyArn"] == recording.one("aws:kms/key:Key").outputs["arn"]
    assert recording.one("aws:kms/key:Key").props["enableKeyRotation"] is True
    assert "audit" in props["enabledClusterLogTypes"]


def test_networking_addons_come_before_nodes_and_scheduled_ones_after(recording):
    nodes = recording.one("aws:eks/nodeGroup:NodeGroup", "tonnage-dev-system-use1-az2")
    assert {f"aws:eks/addon:Addon::tonnage-dev-{name}" for name in BEFORE_NODES} <= needs(nodes)
    for name in set(AFTER_NODES) & set(ADDONS):
        addon = recording.one("aws:eks/addon:Addon", f"tonnage-dev-{name}")
        assert "aws:eks/nodeGroup:NodeGroup::tonnage-dev-system-use1-az1" in needs(addon)
        assert addon.props["addonVersion"] == "v1.2.3-eksbuild.1"


def test_addons_that_call_aws_have_roles_of_their_own(recording):
    for name, identity in ADDON_IDENTITIES.items():
        association = recording.one("aws:eks/addon:Addon", f"tonnage-dev-{name}").props["podIdentityAssociations"]
        role = f"arn:aws:iam::123456789012:role/tonnage-dev-{name}"
        assert association == [{"roleArn": role, "serviceAccount": identity.service_account}]


def test_nodes_have_no_more_than_the_two_policies_of_a_worker(recording):
    attached = {
        each.props["policyArn"].rsplit("/", 1)[-1]
        for each in recording.resources
        if each.type == "aws:iam/rolePolicyAttachment:RolePolicyAttachment" and each.props["role"] == "tonnage-dev-node"
    }
    assert attached == {"AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"}


def test_nodes_keep_their_credentials_from_pods_and_their_disks_encrypted(recording):
    template = recording.one("aws:ec2/launchTemplate:LaunchTemplate").props
    assert template["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpPutResponseHopLimit": 1,
        "httpTokens": "required",
    }
    (device,) = template["blockDeviceMappings"]
    assert (device["ebs"]["encrypted"], device["ebs"]["volumeType"], device["ebs"]["volumeSize"]) == ("true", "gp3", 50)
    assert "FastImagePull" in base64.b64decode(template["userData"]).decode()


def test_each_zone_with_system_nodes_has_a_group_of_its_own_to_which_a_volume_can_come_back(engine):
    groups = engine.run(lambda: Cluster("tonnage-dev", replace(ARGS, system_nodes={"use1-az1": 2, "use1-az2": 1})))
    made = {one.name: one for one in groups.resources if one.type == "aws:eks/nodeGroup:NodeGroup"}
    assert [(one.props["subnetIds"], one.props["scalingConfig"]["desiredSize"]) for one in made.values()] == [
        (["subnet-1"], 2),
        (["subnet-2"], 1),
    ]
    assert len({one.props["nodeGroupName"] for one in made.values()}) == 2
    assert [len(one.aliases) for one in made.values()] == [1, 0]


def test_only_the_named_roles_administrate(recording):
    access = recording.one("aws:eks/cluster:Cluster").props["accessConfig"]
    assert access["bootstrapClusterCreatorAdminPermissions"] is False
    entry = recording.one("aws:eks/accessEntry:AccessEntry").props
    assert entry["principalArn"] == ARGS.admin_role_arns[0]
    assert recording.one("aws:eks/accessPolicyAssociation:AccessPolicyAssociation").props["accessScope"] == {
        "type": "cluster"
    }


def test_roles_of_addons_are_assumed_only_from_this_cluster(recording):
    trust = json.loads(recording.one("aws:iam/role:Role", "tonnage-dev-vpc-cni").props["assumeRolePolicy"])
    (statement,) = trust["Statement"]
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {
        "aws:RequestTag/eks-cluster-arn": "arn:aws:eks:us-east-1:123456789012:cluster/tonnage-dev",
        "aws:RequestTag/kubernetes-namespace": "kube-system",
        "aws:SourceAccount": "123456789012",
    }


def test_the_security_group_of_eks_is_found_by_karpenter(recording):
    tag = recording.one("aws:ec2/tag:Tag").props
    assert (tag["key"], tag["value"]) == ("karpenter.sh/discovery", "tonnage-dev")
    assert tag["resourceId"].startswith("sg-")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"private_subnet_ids": "subnet-1"}, "is not by zone; hint: map zone ids to nodes, and to their subnets"),
        ({"admin_role_arns": ()}, "limit: at least 1"),
        ({"admin_role_arns": ("ops",)}, "'ops' is not a role"),
        ({"public_access_cidrs": ("0.0.0.0/0",)}, "opens the API to everybody"),
        ({"addons": {**ADDONS, "coredns": "latest"}}, "cluster.addons.coredns: 'latest' is not one version"),
        ({"addons": {}}, "vpc-cni, kube-proxy, coredns, eks-pod-identity-agent missing"),
        ({"system_nodes": {"use1-az1": 0}}, "limit: at least one node in each zone that is named"),
        ({"system_nodes": {"use1-az1": 1, "use1-az9": 1}}, "use1-az9 have no subnet; limit: zones use1-az1, use1-az2"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_registered(changes, line):
    with pytest.raises(BadInput) as caught:
        replace(ARGS, **changes)
    assert line in caught.value.line()


def test_nodes_wait_for_the_way_out_of_their_subnets(engine):
    network = NetworkArgs(
        cluster_name="tonnage-dev", cidr="10.40.0.0/16", zone_ids=("use1-az1", "use1-az2"), region="us-east-1", tags={}
    )
    recording = engine.run(
        lambda: Cluster("tonnage-dev", replace(ARGS, routes=tuple(Network("network", network).routes)))
    )
    group = recording.one("aws:eks/nodeGroup:NodeGroup", "tonnage-dev-system-use1-az1")
    needed = {urn.rsplit("::", 1)[-1] for urn in group.dependencies}
    assert {"network-private-use1-az1-nat", "network-private-use1-az2-nat", "network-public-use1-az1"} <= needed


def test_node_repair_has_the_agent_that_sees_broken_gpus():
    assert json.loads(addon_configuration("eks-node-monitoring-agent")) == {
        "dcgmAgent": {"tolerations": [{"operator": "Exists"}]}
    }
    assert all("eks-node-monitoring-agent" in row["addons"] for row in table()["versions"].values())
