"""What Karpenter would buy, from the applied objects alone."""

from __future__ import annotations

import pytest
from kubernetes.client import ApiClient

from rehearsal.simulated.nodes import NodeSpec, node_document
from rehearsal.simulated.pods import Room, admits, asked, number, tolerates
from rehearsal.simulated.pools import CloudMarket, Purchase, choose, group_nodes, karpenter_pools
from rehearsal.simulated.provisioner import Provisioner
from sizing.catalogue import load_catalogue
from tests.policies.graphs import deployment, pool

MARKET = CloudMarket(catalogue=load_catalogue(), region="us-east-1")


def pod(gpus=1):
    template = deployment(gpus=gpus)["spec"]["template"]
    template["spec"]["containers"][0]["resources"]["requests"] = {"nvidia.com/gpu": str(gpus), "cpu": "3"}
    return {"metadata": {"name": "chat-0", "namespace": "serving"}, "spec": template["spec"]}


def bought(gpus=1, used=0, zones=None, market=MARKET, **kwargs):
    pools = karpenter_pools([pool(**kwargs)], [])
    return choose(pod(gpus), pools, {"chat-spot": used}, zones or {}, market=market, number=0)


def test_it_buys_the_cheapest_type_that_fits_with_the_labels_and_taints_of_the_pool():
    purchase = bought()
    assert isinstance(purchase, Purchase)
    instance = load_catalogue().instance(purchase.node.instance_type)
    other = load_catalogue().instance({"g6e.xlarge", "g6e.2xlarge"}.difference({instance.instance_type}).pop())
    assert purchase.usd_per_hour == instance.offer("us-east-1").usd_per_hour("spot")
    assert purchase.usd_per_hour <= other.offer("us-east-1").usd_per_hour("spot")
    assert purchase.node.labels["tonnage.dev/pool"] == "chat-spot"
    assert purchase.node.labels["karpenter.k8s.aws/instance-gpu-name"] == "l40s"
    assert [(one.key, one.effect) for one in purchase.node.taints] == [("nvidia.com/gpu", "NoSchedule")]
    assert purchase.node.capacity_type == "spot"


def test_it_stops_at_the_limit_and_says_so():
    assert bought(used=4) == "pool chat-spot: GPU limit 4, 4 in use, 1 more needed"


def test_a_pod_larger_than_every_machine_is_told_what_is_missing():
    reason = bought(gpus=2)
    assert "too small: asks for 2 of 1 GPUs" in reason


def test_zones_are_taken_in_turn():
    first = bought(types=("g6e.xlarge",))
    second = bought(types=("g6e.xlarge",), zones={first.node.zone: 1})
    assert second.node.zone != first.node.zone


def test_nothing_is_bought_in_a_closed_zone_or_on_a_closed_spot_market():
    first = bought(types=("g6e.xlarge",))
    elsewhere = CloudMarket(catalogue=MARKET.catalogue, region="us-east-1", closed_zones=frozenset({first.node.zone}))
    assert bought(types=("g6e.xlarge",), market=elsewhere).node.zone != first.node.zone
    no_spot = CloudMarket(catalogue=MARKET.catalogue, region="us-east-1", spot_closed=True)
    assert "is not sold now" in bought(market=no_spot)


def test_a_pod_that_names_another_pool_is_not_served():
    assert bought(name="other-spot") == "no pool admits it"


def test_a_pod_that_names_zones_by_id_gets_its_node_there_or_none():
    def bought_for(zone: str) -> Purchase | str:
        asking = pod()
        terms = asking["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        named = {"key": "topology.k8s.aws/zone-id", "operator": "In", "values": [zone]}
        terms["nodeSelectorTerms"][0]["matchExpressions"].append(named)
        return choose(asking, karpenter_pools([pool()], []), {}, {}, market=MARKET, number=0)

    usual = bought().node.zone
    assert bought_for(usual).node.zone == usual
    assert str(bought_for("use1-az3")).endswith("is not sold now in use1-az3")


def test_the_heavier_pool_is_tried_first():
    light, heavy = pool(name="a"), pool(name="b")
    light["spec"]["weight"], heavy["spec"]["weight"] = 10, 90
    assert [one.name for one in karpenter_pools([light, heavy], [])] == ["b", "a"]


def test_a_node_group_gives_its_desired_nodes_over_its_zones():
    inputs = {
        "instanceTypes": ["g6e.xlarge"],
        "scalingConfig": {"minSize": 1, "desiredSize": 3, "maxSize": 5},
        "labels": {"tonnage.dev/pool": "chat-floor"},
        "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}],
    }
    nodes = group_nodes("floor", inputs, zones=["a", "b"], disk_gib=100, catalogue=load_catalogue())
    assert [(node.name, node.zone, node.pool) for node in nodes] == [
        ("floor-0", "a", "chat-floor"),
        ("floor-1", "b", "chat-floor"),
        ("floor-2", "a", "chat-floor"),
    ]
    assert nodes[0].taints[0].effect == "NoSchedule"
    assert nodes[0].ephemeral_gib == pytest.approx(89)


@pytest.mark.parametrize(("text", "value"), [("250m", 0.25), ("2", 2), ("1Gi", 2**30), (None, 0), ("1.5G", 1.5e9)])
def test_quantities_are_read_as_kubernetes_writes_them(text, value):
    assert number(text) == value


def test_a_pod_asks_for_the_larger_of_its_init_container_and_its_containers():
    resources = [{"resources": {"requests": {"cpu": "1", "memory": "2Gi"}}}] * 2
    starting = [{"resources": {"requests": {"memory": "8Gi"}}}]
    assert asked({"spec": {"containers": resources, "initContainers": starting}}) == Room(cpu=2, memory_gib=8)


def test_selectors_affinity_and_taints_decide_together():
    labels, taint = {"tonnage.dev/pool": "chat-spot"}, {"key": "nvidia.com/gpu", "value": "x", "effect": "NoSchedule"}
    assert admits(labels, [taint], pod())
    assert not admits({}, [taint], pod())
    assert not admits(labels, [{**taint, "key": "other"}], pod())
    assert not tolerates([{"key": "nvidia.com/gpu", "operator": "Equal", "value": "y"}], taint)


class Cluster:
    """Answers a provisioner's lists: its pods, each Pending or on a node, and the nodes that it was given."""

    def __init__(self, **placed: str) -> None:
        self.placed = placed
        self.nodes: list[NodeSpec] = []

    def list(self, _: str, kind: str) -> list[dict]:
        node_pools = [pool(types=("g6e.xlarge",), limit="8")]
        nodes = [node_document(node) for node in self.nodes]
        return {"Pod": [*map(self.pod, self.placed)], "Node": nodes, "NodePool": node_pools}.get(kind, [])

    def pod(self, name: str) -> dict:
        waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient GPU"}
        spec = {**pod()["spec"], **({"nodeName": self.placed[name]} if self.placed[name] else {})}
        status = {"phase": "Pending", "conditions": [] if self.placed[name] else [waiting]}
        return {"metadata": {"name": name, "namespace": "serving"}, "spec": spec, "status": status}


def served(cluster):
    provisioner = Provisioner(ApiClient(), MARKET)
    provisioner._client, provisioner.add = cluster, cluster.nodes.extend
    provisioner._round()
    return provisioner


def test_a_pod_whose_node_went_to_a_later_pod_gets_another_node():
    cluster = Cluster(early="")
    provisioner = served(cluster)
    cluster.placed["later"] = cluster.nodes[0].name
    provisioner._round()
    assert [one.pool for one in cluster.nodes] == ["chat-spot"] * 2
    provisioner._round()
    assert len(cluster.nodes) == 2


def test_pods_that_exchanged_their_nodes_cost_no_further_node():
    cluster = Cluster(one="", two="")
    provisioner = served(cluster)
    cluster.placed["two"] = provisioner._nominated["serving/one"]
    provisioner._round()
    assert len(cluster.nodes) == 2
    assert provisioner._nominated == {"serving/one": cluster.nodes[1].name}
