from rehearsal.simulated.nodes import NodeSpec, Taint, node_document, system_nodes, zone_name
from rehearsal.simulated.volumes import volume_for
from sizing.catalogue import load_catalogue
from sizing.nodes.labels import GPU_RESOURCE

NODE = NodeSpec(
    name="spot-0",
    instance_type="g6e.12xlarge",
    zone="use1-az1",
    capacity_type="spot",
    cpu=47.81,
    memory_gib=355.5,
    ephemeral_gib=200,
    gpus=4,
    pods=234,
    labels={"tonnage.dev/pool": "spot"},
    taints=(Taint(key=GPU_RESOURCE, value="true"),),
)


def test_a_node_says_what_the_scheduler_and_the_pods_look_at():
    document = node_document(NODE)
    assert document["status"]["allocatable"] == {
        "cpu": "47810m",
        "memory": "364032Mi",
        "ephemeral-storage": "204800Mi",
        "pods": "234",
        "nvidia.com/gpu": "4",
    }
    assert document["spec"]["taints"] == [{"key": GPU_RESOURCE, "value": "true", "effect": "NoSchedule"}]
    wanted = {
        "node.kubernetes.io/instance-type": "g6e.12xlarge",
        "topology.kubernetes.io/zone": zone_name("use1-az1"),
        "topology.k8s.aws/zone-id": "use1-az1",
        "karpenter.sh/capacity-type": "spot",
        "eks.amazonaws.com/capacityType": "SPOT",
        "tonnage.dev/pool": "spot",
    }
    assert wanted.items() <= document["metadata"]["labels"].items()
    assert document["metadata"]["annotations"] == {"kwok.x-k8s.io/node": "fake"}


def test_a_node_without_gpus_offers_none():
    (node,) = system_nodes(load_catalogue(), instance_type="g6.xlarge", zones=("use1-az1",), count=1)
    assert GPU_RESOURCE not in node_document(node)["status"]["allocatable"]


def test_a_volume_is_bound_to_its_claim_and_zone():
    claim = {
        "metadata": {"name": "data-0", "namespace": "vectors", "uid": "u1"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "8Gi"}},
            "storageClassName": "gp3",
        },
    }
    spec = volume_for(claim, {"provisioner": "ebs.csi.aws.com"}, "use1-az1")["spec"]
    assert spec["claimRef"]["uid"] == "u1"
    assert spec["csi"] == {"driver": "ebs.csi.aws.com", "volumeHandle": "pvc-u1"}
    match = spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"]
    assert match == [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["use1-az1"]}]


def test_a_zone_is_called_otherwise_than_its_id_and_no_two_alike():
    names = [zone_name(f"use1-az{number}") for number in range(1, 7)]
    assert len(set(names)) == 6
    assert not [name for name in names if name.startswith("use1-az")]
