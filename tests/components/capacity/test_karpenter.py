"""Karpenter buys only what the plan priced, keeps what serves, and can be destroyed in order."""

import json
from dataclasses import replace

import pytest

from components.capacity.karpenter_pools import documents
from components.capacity.karpenter_pools.component import KarpenterPools, KarpenterPoolsArgs
from components.cluster.karpenter_controller.component import KarpenterController, KarpenterControllerArgs
from components.cluster.karpenter_controller.policy import controller_policy, queue_policy
from components.common.charts import ChartVersion
from sizing.errors import BadInput
from tests.support.golden import assert_golden
from tests.support.plans import pools_for, serving_plan

PLAN = serving_plan()
FLOOR, SPOT, BURST = pools_for(PLAN)
CLUSTER = "arn:aws:eks:us-east-1:123456789012:cluster/tonnage-dev"
ARGS = KarpenterPoolsArgs(
    pools=(SPOT, BURST),
    cluster_name="tonnage-dev",
    node_role_name="tonnage-dev-node",
    ami_alias="al2023@v20260714",
    tags={"tonnage:stack": "dev"},
)


def controller(engine):
    args = KarpenterControllerArgs(
        cluster_name="tonnage-dev",
        cluster_arn=CLUSTER,
        node_role_arn="arn:aws:iam::123456789012:role/tonnage-dev-node",
        chart=ChartVersion(chart="oci://public.ecr.aws/karpenter/karpenter", version="1.14.1"),
        tags={"tonnage:stack": "dev-cluster"},
    )
    return engine.run(lambda: KarpenterController("karpenter", args))


def test_the_node_pool_and_class_of_a_pool_are_the_committed_ones():
    spec = documents.node_pool(SPOT, SPOT.name)
    node_class = documents.node_class(
        SPOT, ami_alias="al2023@v20260714", cluster_name="tonnage-dev", node_role_name="tonnage-dev-node", tags={}
    )
    assert_golden("karpenter_spot", {"NodePool": spec, "EC2NodeClass": node_class})


def test_limits_count_gpus_and_nothing_else():
    spec = documents.node_pool(replace(SPOT, gpu_limit=8), SPOT.name)
    assert spec["limits"] == {"nvidia.com/gpu": "8"}


def test_requirements_leave_no_choice_that_the_plan_has_not_priced():
    wanted = {each["key"]: each["values"] for each in documents.requirements(SPOT)}
    assert wanted["karpenter.sh/capacity-type"] == ["spot", "on-demand"]
    assert wanted["node.kubernetes.io/instance-type"] == [offer.instance_type for offer in SPOT.offers]
    assert wanted["topology.k8s.aws/zone-id"] == sorted(SPOT.zones)


def test_a_pool_on_demand_never_buys_spot():
    wanted = {each["key"]: each["values"] for each in documents.requirements(BURST)}
    assert wanted["karpenter.sh/capacity-type"] == ["on-demand"]


def test_only_empty_nodes_are_removed_after_the_time_of_the_plan():
    pool = replace(SPOT, lifetime=replace(SPOT.lifetime, consolidate_after_s=660))
    disruption = documents.node_pool(pool, "x")["disruption"]
    assert (disruption["consolidationPolicy"], disruption["consolidateAfter"]) == ("WhenEmpty", "11m")


def test_the_removal_of_a_pool_is_awaited_as_long_as_the_plan_says(engine):
    pool = replace(SPOT, lifetime=replace(SPOT.lifetime, deletion_s=4500))
    recording = engine.run(lambda: KarpenterPools("pools", replace(ARGS, pools=(pool,))))
    assert recording.one("kubernetes:karpenter.sh/v1:NodePool", "chat-spot-pool").custom_timeouts["delete"] == "75m"


def test_nodes_carry_the_label_and_taint_of_their_pool():
    template = documents.node_pool(SPOT, SPOT.name)["template"]
    assert template["metadata"]["labels"]["tonnage.dev/pool"] == SPOT.name
    assert template["spec"]["taints"] == [{"key": SPOT.taint_key, "value": SPOT.taint_value, "effect": "NoSchedule"}]


def test_node_pools_are_destroyed_before_their_classes_and_never_skipped(engine):
    recording = engine.run(lambda: KarpenterPools("pools", ARGS))
    pool = recording.one("kubernetes:karpenter.sh/v1:NodePool", "chat-spot-pool")
    assert [urn.rsplit("::", 1)[-1] for urn in pool.dependencies] == ["chat-spot-class"]
    assert not pool.deleted_with


def test_the_controller_passes_only_the_node_role_and_ends_only_its_own(engine):
    policy = json.loads(controller(engine).one("aws:iam/rolePolicy:RolePolicy").props["policy"])
    by_name = {each["Sid"]: each for each in policy["Statement"]}
    assert by_name["PassNodeRole"]["Resource"] == ["arn:aws:iam::123456789012:role/tonnage-dev-node"]
    owned = {"aws:ResourceTag/kubernetes.io/cluster/tonnage-dev": "owned"}
    assert by_name["EndOwn"]["Condition"]["StringEquals"] == owned
    assert by_name["CreateTagged"]["Condition"]["StringEquals"]["aws:RequestTag/eks:eks-cluster-name"] == "tonnage-dev"


def test_no_statement_changes_anything_without_a_condition_or_a_resource():
    policy = json.loads(controller_policy(CLUSTER, "arn:aws:iam::1:role/n", "arn:aws:sqs:us-east-1:1:q"))
    for each in policy["Statement"]:
        reads = all(action.split(":")[1].startswith(("Describe", "Get", "List")) for action in each["Action"])
        assert reads or each["Resource"] != ["*"], each["Sid"]


def test_the_first_spot_machine_of_an_account_can_be_bought():
    policy = json.loads(controller_policy(CLUSTER, "arn:aws:iam::1:role/n", "arn:aws:sqs:us-east-1:1:q"))
    (role,) = [each for each in policy["Statement"] if "iam:CreateServiceLinkedRole" in each["Action"]]
    assert role["Resource"] == ["arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/*"]


def test_spot_notices_reach_the_queue_that_the_chart_reads(engine):
    recording = controller(engine)
    values = recording.one("kubernetes:helm.sh/v3:Release").props["values"]
    assert values["settings"]["interruptionQueue"] == "karpenter-interruption"
    queue = recording.one("aws:sqs/queue:Queue").outputs["arn"]
    targets = [each for each in recording.resources if each.type == "aws:cloudwatch/eventTarget:EventTarget"]
    assert {each.props["arn"] for each in targets} == {queue}
    assert len(targets) == 4


def test_the_interruption_queue_is_written_only_by_its_own_rules():
    events, plain = json.loads(queue_policy("arn:aws:sqs:us-east-1:123456789012:q", ["rule/b", "rule/a"]))["Statement"]
    assert events["Condition"] == {"ArnEquals": {"aws:SourceArn": ["rule/a", "rule/b"]}}
    assert (plain["Effect"], plain["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"ami_alias": "al2023@latest"}, "'al2023@latest' is not pinned"),
        ({"pools": (FLOOR,)}, "pools.chat-floor: kind is managed; limit: karpenter"),
        ({"pools": (replace(SPOT, gpu_limit=0),)}, "GPU limit 0; limit: at least 1"),
        ({"pools": (replace(SPOT, zones=()),)}, "no instance type or no zone"),
        ({"pools": (replace(SPOT, lifetime=None),)}, "has no lifetime; hint: take the pools of a StackPlan"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_registered(changes, line):
    with pytest.raises(BadInput) as caught:
        replace(ARGS, **changes)
    assert line in caught.value.line()
