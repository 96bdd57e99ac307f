"""What Karpenter is offered and which node class it reads; the same of the real process is ``test_purchases``."""

from __future__ import annotations

import re

from infra.config import settings_from_file, stack_file
from infra.program import plan_for
from rehearsal.karpenter import node_class
from rehearsal.karpenter.controller import Purchase, purchase_of
from rehearsal.karpenter.offers import CloudMarket, disks_of, instance_types
from rehearsal.simulated.nodes import zone_name
from sizing.catalogue import load_catalogue

MARKET = CloudMarket(catalogue=load_catalogue(), region="us-east-1", disks_gib={"p4d.24xlarge": 270})


def offered(name, market=MARKET):
    found = [one for one in instance_types(market) if one["name"] == name]
    return found[0] if found else None


def offerings(name, market=MARKET):
    """Return (zone id, zone name, capacity type, GPU, price) of each offering."""
    keys = (
        "topology.k8s.aws/zone-id", "topology.kubernetes.io/zone", "karpenter.sh/capacity-type",
        "karpenter.k8s.aws/instance-gpu-name",
    )  # fmt: skip
    found = []
    for one in (offered(name, market) or {"offerings": []})["offerings"]:
        values = {each["key"]: each["values"][0] for each in one["Requirements"]}
        found.append((*(values[key] for key in keys), round(one["Price"], 2)))
    return found


def test_an_offering_carries_both_names_of_its_zone_its_capacity_type_and_the_price_of_the_plan():
    offer = MARKET.catalogue.instance("p4d.24xlarge").offer("us-east-1")
    spot, on_demand = round(offer.spot_usd_per_hour, 2), round(offer.on_demand_usd_per_hour, 2)
    assert offerings("p4d.24xlarge") == [
        (zone, zone_name(zone), capacity_type, "a100", price)
        for zone in offer.zone_ids
        for capacity_type, price in (("spot", spot), ("on-demand", on_demand))
    ]


def test_a_machine_has_what_pods_may_use_of_it_once_the_provider_took_its_own_share():
    instance = MARKET.catalogue.instance("p4d.24xlarge")
    resources = offered("p4d.24xlarge")["resources"]
    assert resources == {
        "cpu": f"{round(instance.allocatable_cpu * 1000) + 100}m",
        "memory": f"{round(instance.allocatable_memory_gib * 1024) + 10}Mi",
        "ephemeral-storage": "247808Mi",  # 0.9 x 270 GiB - 1
        "pods": str(instance.allocatable_pods),
        "nvidia.com/gpu": "8",
    }


def test_a_closed_zone_and_a_closed_spot_market_sell_nothing():
    left = offerings("p4d.24xlarge", MARKET.without_zone("use1-az2").without_spot())
    assert [(zone, kind) for zone, _, kind, _, _ in left] == [
        (zone, "on-demand") for zone, _, kind, _, _ in offerings("p4d.24xlarge")
        if kind == "spot" and zone != "use1-az2"
    ]  # fmt: skip
    nowhere = MARKET
    for zone in MARKET.catalogue.instance("p4d.24xlarge").offer("us-east-1").zone_ids:
        nowhere = nowhere.without_zone(zone)
    assert offered("p4d.24xlarge", nowhere) is None


def test_the_disk_of_a_machine_is_that_of_the_plan():
    plan = plan_for(settings_from_file(stack_file("prod")), "prod")
    assert disks_of(plan) == {"p4d.24xlarge": 270, "g6e.xlarge": 120, "g6e.2xlarge": 120}
    assert disks_of(None) == {}


def test_only_the_node_class_of_a_node_pool_is_replaced():
    _, policy, binding = node_class.documents()
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert rule["resources"] == ["nodepools"]
    (mutation,) = policy["spec"]["mutations"]
    paths = re.findall(r'path: "([^"]+)", value: "([^"]+)"', mutation["jsonPatch"]["expression"])
    assert paths == [
        ("/spec/template/spec/nodeClassRef/group", "karpenter.kwok.sh"),
        ("/spec/template/spec/nodeClassRef/kind", "KWOKNodeClass"),
        ("/spec/template/spec/nodeClassRef/name", "rehearsal"),
    ]
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]


def test_what_a_node_cost_is_read_off_the_node():
    labels = {"karpenter.sh/nodepool": "chat-spot", "eks-node-viewer/instance-price": "1.090000"}
    assert purchase_of({"metadata": {"name": "n", "labels": labels}}) == Purchase(
        node="n", pool="chat-spot", usd_per_hour=1.09
    )
