"""Every rule accepts the good stack and refuses each way of breaking it, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.config import stacks
from infra.offline import run_offline
from policies.facts.charges import gib
from policies.facts.prices import fixed_price, memory_usd_per_gib_hour
from policies.graph import Resource
from policies.registry import ALL_RULES, GROUPS, judge, judge_rule
from policies.rules.capacity.gpu_pools import gpu_pools
from policies.rules.capacity.zonal_groups import zonal_groups
from policies.rules.cost.burn_ceiling import burn_ceiling
from policies.rules.exposure.exposure import exposure
from policies.rules.kubernetes.unique_names import RULE, unique_names
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput
from tests.policies.graphs import DIGEST, INTERNAL, deployment, good, pool, resources

RULES = Path(__file__).parents[2] / "policies" / "rules"
NODE_POOL = "kubernetes:karpenter.sh/v1:NodePool"
SECRET = "kubernetes:core/v1:Secret"
PROXY = "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def messages(rule, graph):
    return [one.message for one in rule(resources(graph))]


def container(graph):
    return graph["chat"][1]["spec"]["template"]["spec"]["containers"][0]


def test_the_good_stack_passes_every_rule():
    assert [(one.rule, one.passed) for one in judge(resources(good()))] == [
        ("burn-ceiling", True),
        ("gpu-pools", True),
        ("zonal-groups", True),
        ("exposure", True),
        ("unique-names", True),
        ("name-limits", True),
        ("unique-cloud-names", True),
    ]


def test_the_verdict_is_the_same_whatever_the_order_of_the_resources():
    graph = good()
    graph["budget"][1]["limitAmount"] = "1"
    assert judge(resources(graph)) == judge(reversed(resources(graph)))


def test_the_ceiling_is_the_limit_at_the_dearest_on_demand_price():
    graph = good()
    price = load_catalogue().instance("g6e.2xlarge").on_demand_usd_per_hour["us-east-1"]
    monthly = 4 * price * 730 + 4 * 0.5  # a GB of logs for each of the four replicas
    graph["budget"][1]["limitAmount"] = str(monthly + 0.01)
    assert messages(burn_ceiling, graph) == []
    graph["budget"][1]["limitAmount"] = str(monthly - 0.01)
    (message,) = messages(burn_ceiling, graph)
    assert f"${monthly:,.0f} a month" in message
    assert "chat-spot" in message


def test_a_raised_pool_limit_breaks_the_budget():
    graph = good()
    graph["chat-spot"][1]["spec"]["limits"]["nvidia.com/gpu"] = "40"
    assert len(messages(burn_ceiling, graph)) == 1


def test_managed_groups_disks_and_fixed_costs_are_on_the_bill():
    graph = good()
    del graph["chat-spot"]
    group = {"instanceTypes": ["g6e.xlarge"], "scalingConfig": {"maxSize": 2}, "labels": {}}
    group["updateConfig"] = {"maxUnavailable": 1, "updateStrategy": "MINIMAL"}
    disk = {"blockDeviceMappings": [{"ebs": {"volumeSize": 100, "iops": 4000, "throughput": 225}}]}
    endpoint = {"vpcEndpointType": "Interface", "subnetIds": ["a", "b"]}
    memory = {"containers": [{"resources": {"requests": {"memory": "1536Mi"}}}]}
    claim = {"spec": {"resources": {"requests": {"storage": "50Gi"}}}}
    store = {"replicas": 3, "volumeClaimTemplates": [claim], "template": {"spec": memory}}
    graph |= {
        "floor": ("aws:eks/nodeGroup:NodeGroup", group),
        "template": ("aws:ec2/launchTemplate:LaunchTemplate", disk),
        "nat": ("aws:ec2/natGateway:NatGateway", {}),
        "endpoint": ("aws:ec2/vpcEndpoint:VpcEndpoint", endpoint),
        "gateway": ("kubernetes:gateway.networking.k8s.io/v1:Gateway", {"metadata": {"name": "gateway"}}),
        "store": ("kubernetes:apps/v1:StatefulSet", {"spec": store}),
    }
    price = load_catalogue().instance("g6e.xlarge").on_demand_usd_per_hour["us-east-1"]
    volume = (100 * 0.08 + 1000 * 0.005 + 100 * 0.04) / 730
    hourly = 2 * (price + volume) + 0.045 + 2 * 0.01 + 0.0225 + 3 * 50 * 0.08 / 730
    hourly += 3 * 1.5 * memory_usd_per_gib_hour("us-east-1") + 4 * 0.5 / 730
    graph["budget"][1]["limitAmount"] = str(hourly * 730 + 0.01)
    assert messages(burn_ceiling, graph) == []
    graph["budget"][1]["limitAmount"] = str(hourly * 730 - 0.01)
    assert len(messages(burn_ceiling, graph)) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda graph: graph.pop("budget"), "no monthly budget"),
        (lambda graph: graph["chat-spot"][1]["spec"].pop("limits"), "no GPU limit"),
        (lambda graph: graph["chat-spot"][1]["spec"]["template"]["spec"].pop("requirements"), "no instance types"),
        (lambda graph: graph.update({"aws": ("pulumi:providers:aws", {"region": "mars-1"})}), "no price in mars-1"),
        (lambda graph: graph.update({"chat-spot": (NODE_POOL, pool(types=("m7i.large",)))}),
         "machines without GPU"),
    ],
)  # fmt: skip
def test_a_ceiling_that_cannot_be_computed_is_a_violation(change, says):
    graph = good()
    change(graph)
    assert any(says in message for message in messages(burn_ceiling, graph))


@pytest.mark.parametrize(
    ("name", "region", "says"),
    [
        ("nat_gateway_usd_per_hours", "us-east-1", "nearest known: nat_gateway_usd_per_hour"),
        ("nat_gateway_usd_per_hour", "mars-1", "has no prices in the catalogue"),
    ],
)
def test_a_price_that_nobody_knows_is_an_error_and_never_nothing(name, region, says):
    with pytest.raises(BadInput, match=says):
        fixed_price(name, region)


@pytest.mark.parametrize(
    ("quantity", "size"), [("1Gi", 1), ("1536Mi", 1.5), (2**30, 1), ("1T", 1e12 / 2**30), ("1e9", 1e9 / 2**30)]
)
def test_sizes_are_read_in_every_unit_of_kubernetes(quantity, size):
    assert gib(quantity) == pytest.approx(size)
    with pytest.raises(BadInput, match="is no size in bytes"):
        gib(f"{quantity}x")


def test_a_stack_in_a_region_without_prices_has_no_ceiling():
    graph = good()
    del graph["chat-spot"]
    graph["aws"] = ("pulumi:providers:aws", {"region": "mars-1"})
    (message,) = messages(burn_ceiling, graph)
    assert message == "the catalogue has no price in mars-1; hint: tonnage catalogue refresh"


def test_a_cluster_stack_without_gpus_needs_no_budget():
    graph = good()
    for name in ("budget", "chat-spot", "chat"):
        del graph[name]
    assert messages(burn_ceiling, graph) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda graph: graph.update({"chat": ("kubernetes:apps/v1:Deployment", deployment(gpus=2))}),
         "chat asks for 2 GPUs; pool chat-spot buys g6e.xlarge with 1"),
        (lambda graph: graph.update({"chat": ("kubernetes:apps/v1:Deployment", deployment(pools=("gone",)))}),
         "wants pool gone; there is: chat-spot"),
        (lambda graph: graph.update({"chat": ("kubernetes:apps/v1:Deployment", deployment(pools=()))}),
         "names no pool"),
        (lambda graph: graph["chat"][1]["spec"]["template"]["spec"].pop("tolerations"),
         "does not tolerate nvidia.com/gpu=present:NoSchedule"),
        (lambda graph: graph["chat-spot"][1]["spec"]["limits"].update({"nvidia.com/gpu": "3"}),
         "chat may ask for 4 GPUs; limit: 3 in chat-spot"),
        (lambda graph: graph["scaler"][1]["spec"].update({"maxReplicaCount": 5}),
         "chat may ask for 5 GPUs; limit: 4 in chat-spot"),
        (lambda graph: graph["scaler"][1]["spec"].pop("maxReplicaCount"), "chat may ask for 100 GPUs"),
        (lambda graph: graph["chat-spot"][1]["spec"]["template"]["spec"].pop("taints"), "has no nvidia.com/gpu taint"),
        (lambda graph: graph.update({"chat-spot": (NODE_POOL, pool(gpu_name="h100"))}),
         "is labelled h100 but buys l40s"),
        (lambda graph: graph.update({"chat-spot": (NODE_POOL, pool(types=("g6e.xlarge", "g6.xlarge")))}),
         "mixes L4, L40S"),
    ],
)  # fmt: skip
def test_a_gpu_pod_that_could_not_land_is_named(change, says):
    graph = good()
    change(graph)
    assert any(says in message for message in messages(gpu_pools, graph)), messages(gpu_pools, graph)


def test_two_models_that_share_a_pool_share_its_limit():
    graph = good()
    graph["second"] = ("kubernetes:apps/v1:Deployment", deployment(name="second"))
    graph["second"][1]["spec"]["replicas"] = 1
    assert messages(gpu_pools, graph) == [
        "chat, second may ask for 5 GPUs; limit: 4 in chat-spot; hint: raise the pool limit or lower maxReplicaCount"
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda graph: graph["service"][1]["spec"].update({"type": "LoadBalancer"}), "service chat is public"),
        (lambda graph: graph["service"][1]["spec"].update({"type": "NodePort"}), "opens chat on every node"),
        (lambda graph: graph.pop("guard"), "has no NetworkPolicy"),
        (lambda graph: graph["guard"][1]["spec"].update({"ingress": [{}]}), "lets everybody in"),
        (lambda graph: container(graph).update({"env": [{"name": "HF_TOKEN", "value": "hf_x"}]}), "carries HF_TOKEN"),
        (lambda graph: container(graph).update({"args": ["--api-key=changeme"]}), "carries --api-key"),
        (lambda graph: container(graph).update({"image": "vllm/vllm-openai:latest"}), "limit: by digest"),
        (lambda graph: container(graph).update({"ports": [{"hostPort": 8000}]}), "listens on its node"),
        (lambda graph: graph.update({"keys": (SECRET, {"metadata": {"name": "keys"}, "stringData": {"a": "b"}})}),
         "secret keys has its value in the stack"),
        (lambda graph: graph.update({"proxy": (PROXY, {"metadata": {"name": "edge"}, "spec": {}})}),
         "gateway edge is public and asks for no key"),
    ],
)  # fmt: skip
def test_what_would_be_public_or_readable_is_named(change, says):
    graph = good()
    change(graph)
    assert any(says in message for message in messages(exposure, graph)), messages(exposure, graph)


def test_an_internal_load_balancer_and_an_authenticated_gateway_pass():
    graph = good()
    graph["service"][1]["spec"]["type"] = "LoadBalancer"
    graph["service"][1]["metadata"]["annotations"] = INTERNAL
    graph["proxy"] = (PROXY, {"metadata": {"name": "edge"}})
    policy = {"metadata": {"name": "keys"}, "spec": {"apiKeyAuth": {}}}
    graph["policy"] = ("kubernetes:gateway.envoyproxy.io/v1alpha1:SecurityPolicy", policy)
    assert messages(exposure, graph) == []


def test_two_owners_of_one_object_are_named_whatever_version_they_write():
    graph = good()
    again = {"metadata": {"name": "chat", "namespace": "serving"}}
    graph["old-chat"] = ("kubernetes:apps/v1beta1:Deployment", again)
    (found,) = unique_names(resources(graph))
    assert found.resource == "urn:old-chat"
    assert found.message == "Deployment chat in serving is also chat; limit: one owner; hint: give one another name"


@pytest.mark.parametrize(
    ("token", "metadata"),
    [
        ("apps/v1:Deployment", {"name": "chat", "namespace": "other"}),
        ("apps/v1:Deployment", {"namespace": "serving"}),
        ("apps/v1:StatefulSet", {"name": "chat", "namespace": "serving"}),
        ("serving.knative.dev/v1:Service", {"name": "chat", "namespace": "serving"}),
    ],
)
def test_objects_of_another_namespace_kind_or_group_or_without_a_name_are_apart(token, metadata):
    graph = good()
    graph["chat-2"] = (f"kubernetes:{token}", {"metadata": metadata})
    assert messages(unique_names, graph) == []


@pytest.mark.parametrize("stack", stacks())
def test_every_object_of_the_shipped_stacks_has_one_owner_before_and_after_they_are_deployed(stack):
    for preview in (True, False):
        found = [
            Resource(type=one.type, name=one.name, urn=one.urn, props=one.props)
            for one in run_offline(stack, preview=preview).resources
        ]
        verdict = judge_rule(RULE, found)
        assert verdict.passed, verdict


def test_a_secret_value_is_never_repeated():
    graph = good()
    container(graph)["env"] = [{"name": "HF_TOKEN", "value": "hf_very_secret"}]
    container(graph)["args"] = ["--api-key=also-secret"]
    assert "secret" not in " ".join(messages(exposure, graph)).replace("secretKeyRef", "")


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("burn-ceiling", lambda graph: graph["budget"][1].update({"limitAmount": UNKNOWN})),
        ("gpu-pools", lambda graph: graph["scaler"][1]["spec"].update({"maxReplicaCount": UNKNOWN})),
        ("exposure", lambda graph: container(graph).update({"image": UNKNOWN})),
        ("unique-names", lambda graph: graph["chat"][1]["metadata"].update({"name": UNKNOWN})),
    ],
)
def test_a_rule_that_met_an_unknown_value_did_not_pass(rule, change):
    graph = good()
    change(graph)
    (verdict,) = [one for one in judge(resources(graph)) if one.rule == rule]
    assert not verdict.passed
    assert "is not known yet" in verdict.could_not_run


def test_verdicts_are_plain_documents():
    broken = [Resource(type="kubernetes:core/v1:Secret", name="s", urn="urn:s", props={"data": {"k": "v"}})]
    document = judge(broken)[3].to_document()
    assert document["rule"] == "exposure"
    assert document["violations"][0]["resource"] == "urn:s"
    assert not document["passed"]


def test_every_rule_has_a_name_a_description_and_a_level():
    assert len({rule.name for rule in ALL_RULES}) == len(ALL_RULES) == 7
    assert all(rule.description.endswith(".") and rule.level == "mandatory" for rule in ALL_RULES)
    assert len(DIGEST) == 72


def managed(**more):
    props = {"instanceTypes": ["p5.48xlarge"], "scalingConfig": {"maxSize": 1}, "subnetIds": ["a", "b", "c"], **more}
    return ("aws:eks/nodeGroup:NodeGroup", props)


def test_the_machines_that_an_update_adds_are_part_of_the_ceiling():
    graph, price = good(), load_catalogue().instance("p5.48xlarge").on_demand_usd_per_hour["us-east-1"]
    graph["budget"][1]["limitAmount"] = str(9000 + price * 730)
    graph["floor"] = managed(updateConfig={"maxUnavailable": 1, "updateStrategy": "MINIMAL"})
    assert messages(burn_ceiling, graph) == []
    graph["floor"] = managed(updateConfig={"maxUnavailable": 1})
    (message,) = messages(burn_ceiling, graph)
    assert f"lower the limit of floor (${7 * price * 730:,.0f})" in message


@pytest.mark.parametrize("token", ["aws:ec2/instance:Instance", "aws:autoscaling/group:Group", "aws:ec2/fleet:Fleet"])
def test_machines_outside_the_pools_are_refused(token):
    graph = good()
    graph["extra"] = (token, {})
    assert messages(burn_ceiling, graph) == ["extra buys machines outside the pools; hint: a pool of the plan"]


def test_the_registry_finds_the_rule_of_every_file_and_every_folder_has_its_place():
    folders = {path.parent.name for path in RULES.glob("*/*.py")}
    files = [path for path in RULES.glob("*/*.py") if path.name != "__init__.py"]
    assert folders == set(GROUPS)
    assert len(ALL_RULES) == len(files)
    assert {rule.name.replace("-", "_") for rule in ALL_RULES} == {path.stem for path in files}


def test_a_group_over_more_zones_than_nodes_may_lose_a_volume():
    def group(nodes, zones, **more):
        props = {"instanceTypes": ["m7i.large"], "scalingConfig": {"minSize": nodes, "maxSize": nodes}, **more}
        return {"system": ("aws:eks/nodeGroup:NodeGroup", {**props, "subnetIds": ["a", "b", "c"][:zones]})}

    assert messages(zonal_groups, group(2, 3)) == [
        "group system has 2 nodes over 3 zones; limit: a node in each; hint: a group a zone"
    ]
    gpu_taint = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert (
        messages(zonal_groups, group(3, 3) | group(0, 1)) == messages(zonal_groups, group(1, 3, taints=gpu_taint)) == []
    )
