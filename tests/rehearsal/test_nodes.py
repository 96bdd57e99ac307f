from rehearsal.nodes import GPU, NodeSpec, Taint, node_document, nodes_from_plan, system_nodes
from rehearsal.volumes import volume_for
from sizing.catalogue import load_catalogue
from sizing.plan import Bounds, BudgetPlan, Disk, InstanceOffer, NodePoolPlan, StackPlan

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
    taints=(Taint(key=GPU, value="true"),),
)


def offer(instance_type: str, gpus: int, *zones: str) -> InstanceOffer:
    return InstanceOffer(
        instance_type=instance_type,
        gpus=gpus,
        vcpu=4,
        memory_gib=16,
        on_demand_usd_per_hour=1,
        spot_usd_per_hour=1,
        zone_ids=zones,
    )


def pool(**changes: object) -> NodePoolPlan:
    settings: dict[str, object] = {
        "name": "burst",
        "kind": "karpenter",
        "capacity_type": "spot",
        "gpu": "L4",
        "karpenter_gpu_name": "l4",
        "offers": (offer("g6.xlarge", 1, "use1-az1"), offer("g6.12xlarge", 4, "use1-az2")),
        "zones": ("use1-az1", "use1-az2", "use1-az3"),
        "floor_instances": 0,
        "expected_instances": 1,
        "mean_instances": 1,
        "ceiling_instances": 3,
        "gpu_limit": 6,
        "labels": {"tonnage.dev/pool": "burst"},
        "taint_key": GPU,
        "taint_value": "l4",
        "disk": Disk(size_gib=100, iops=3000, throughput_mib_per_s=125),
        "models": ("chat",),
        "usd_per_hour": Bounds(floor=0, expected=1, ceiling=3),
    }
    return NodePoolPlan(**{**settings, **changes})


def plan(*pools: NodePoolPlan) -> StackPlan:
    budget = BudgetPlan(
        monthly_usd=1,
        on_exceed="freeze",
        notify=(),
        actual_thresholds_percent=(),
        forecast_threshold_percent=100,
        fast_burn_gpu_nodes=1,
    )
    burn = Bounds(floor=0, expected=1, ceiling=3)
    return StackPlan(
        stack="dev",
        region="us-east-1",
        models=(),
        pools=pools,
        vector_store=None,
        bill=(),
        burn_usd_per_hour=burn,
        budget=budget,
        catalogue_date="2026-11-21",
        warnings=(),
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
    assert document["spec"]["taints"] == [{"key": GPU, "value": "true", "effect": "NoSchedule"}]
    wanted = {
        "node.kubernetes.io/instance-type": "g6e.12xlarge",
        "topology.kubernetes.io/zone": "use1-az1",
        "karpenter.sh/capacity-type": "spot",
        "eks.amazonaws.com/capacityType": "SPOT",
        "tonnage.dev/pool": "spot",
    }
    assert wanted.items() <= document["metadata"]["labels"].items()
    assert document["metadata"]["annotations"] == {"kwok.x-k8s.io/node": "fake"}


def test_a_node_without_gpus_offers_none():
    (node,) = system_nodes(load_catalogue(), instance_type="g6.xlarge", zones=("use1-az1",), count=1)
    assert GPU not in node_document(node)["status"]["allocatable"]


def test_nodes_of_a_pool_stand_in_its_zones_with_a_type_sold_there():
    nodes = nodes_from_plan(plan(pool()), load_catalogue())
    assert [(node.name, node.zone, node.instance_type, node.gpus) for node in nodes] == [
        ("burst-0", "use1-az1", "g6.xlarge", 1),
        ("burst-1", "use1-az2", "g6.12xlarge", 4),
        ("burst-2", "use1-az1", "g6.xlarge", 1),
    ]
    assert nodes[0].taints == (Taint(key=GPU, value="l4"),)
    assert nodes[0].labels["karpenter.sh/nodepool"] == "burst"
    assert nodes[0].cpu == load_catalogue().instance("g6.xlarge").allocatable_cpu


def test_the_floor_is_what_runs_before_anything_is_asked_for():
    managed = pool(name="floor", kind="managed", capacity_type="on-demand", floor_instances=2)
    nodes = nodes_from_plan(plan(pool(), managed), load_catalogue(), count="floor")
    assert [node.name for node in nodes] == ["floor-0", "floor-1"]
    assert nodes[0].labels["eks.amazonaws.com/nodegroup"] == "floor"


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
