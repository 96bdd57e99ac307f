"""Who is notified when, and what a freeze denies."""

import json
from dataclasses import replace

import pytest

from components.operations.budget.component import BudgetGuard, BudgetGuardArgs
from components.operations.budget.policy import topic_key_policy, topic_policy
from sizing.errors import BadInput
from sizing.plan import Bounds
from tests.support.plans import budget_alarms

PLAN = budget_alarms(on_exceed="freeze", actual_thresholds_percent=(40.0, 80.0, 100.0), fast_burn_vcpus=48)
ARGS = BudgetGuardArgs(
    plan=PLAN,
    stack="prod",
    burn=Bounds(floor=1.0, expected=2.0, ceiling=8.0),
    cluster_name="tonnage-prod",
    cluster_arn="arn:aws:eks:us-east-1:123456789012:cluster/tonnage-prod",
    frozen_role_names=("tonnage-prod-karpenter-controller", "tonnage-prod-node"),
    tags={"tonnage:stack": "prod"},
)


def record(engine, **plan):
    return engine.run(lambda: BudgetGuard("budget", replace(ARGS, plan=replace(PLAN, **plan))))


def test_the_budget_counts_what_carries_the_stacks_tag(engine):
    props = record(engine).one("aws:budgets/budget:Budget").props
    assert (props["limitAmount"], props["timeUnit"], props["budgetType"]) == ("6000.00", "MONTHLY", "COST")
    assert props["costFilters"] == [{"name": "TagKeyValue", "values": ["user:tonnage:stack$prod"]}]


def test_thresholds_of_the_plan_become_notifications_to_the_topic(engine):
    recording = record(engine)
    notifications = recording.one("aws:budgets/budget:Budget").props["notifications"]
    told = {(each["notificationType"], each["threshold"]) for each in notifications}
    assert told == {("ACTUAL", 40.0), ("ACTUAL", 80.0), ("ACTUAL", 100.0), ("FORECASTED", 100.0)}
    topic = recording.one("aws:sns/topic:Topic").outputs["arn"]
    assert all(each["subscriberSnsTopicArns"] == [topic] for each in notifications)


def test_people_are_subscribed_to_an_encrypted_topic(engine):
    recording = record(engine)
    subscription = recording.one("aws:sns/topicSubscription:TopicSubscription").props
    assert (subscription["protocol"], subscription["endpoint"]) == ("email", "ops@example.com")
    key = recording.one("aws:kms/key:Key")
    assert recording.one("aws:sns/topic:Topic").props["kmsMasterKeyId"] == key.outputs["arn"]
    assert "budgets.amazonaws.com" in key.props["policy"]


def test_only_budgets_and_alarms_of_this_account_publish():
    policy = json.loads(topic_policy("arn:aws:sns:us-east-1:123456789012:t"))
    assert [each["Principal"]["Service"] for each in policy["Statement"]] == [
        "budgets.amazonaws.com",
        "cloudwatch.amazonaws.com",
    ]
    key = json.loads(topic_key_policy("aws", "us-east-1", "123456789012"))["Statement"][1:]
    sources = ["arn:aws:budgets::123456789012:*", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:*"]
    own = {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    wanted = [{**own, "ArnLike": {"aws:SourceArn": source}} for source in sources]
    assert [each["Condition"] for each in policy["Statement"]] == wanted
    assert [each["Condition"] for each in key] == wanted
    assert [each["Action"] for each in key] == [["kms:Decrypt", "kms:GenerateDataKey*"]] * 2


def test_the_fast_burn_alarm_stands_at_the_vcpus_of_the_plans_limit(engine):
    alarm = record(engine).one("aws:cloudwatch/metricAlarm:MetricAlarm").props
    assert (alarm["threshold"], alarm["evaluationPeriods"]) == (48, 2)
    assert {each["metric"]["period"] for each in alarm["metricQueries"] if "metric" in each} == {300}
    (total,) = [each for each in alarm["metricQueries"] if each["returnData"]]
    assert total["expression"] == "SUM([FILL(m0,0),FILL(m1,0),FILL(m2,0),FILL(m3,0)])"


def test_a_freeze_denies_new_machines_to_the_roles_that_buy_them(engine):
    recording = record(engine)
    (denied,) = json.loads(recording.one("aws:iam/policy:Policy").props["policy"])["Statement"]
    assert (denied["Effect"], denied["Action"]) == ("Deny", ["ec2:CreateFleet", "ec2:RunInstances"])
    action = recording.one("aws:budgets/budgetAction:BudgetAction").props
    assert action["approvalModel"] == "AUTOMATIC"
    assert action["definition"]["iamActionDefinition"]["roles"] == list(ARGS.frozen_role_names)


def test_the_role_of_the_freeze_can_apply_nothing_else(engine):
    recording = record(engine)
    (statement,) = json.loads(recording.one("aws:iam/rolePolicy:RolePolicy").props["policy"])["Statement"]
    assert statement["Condition"] == {
        "ArnEquals": {"iam:PolicyARN": recording.one("aws:iam/policy:Policy").outputs["arn"]}
    }
    assert statement["Resource"] == [f"arn:aws:iam::123456789012:role/{name}" for name in ARGS.frozen_role_names]


def test_the_role_of_the_freeze_has_a_name_that_iam_takes_whatever_cluster_and_stack_are_called(engine):
    long = replace(ARGS, stack="e" * 27, cluster_name="tonnage-" + "e" * 27)
    name = engine.run(lambda: BudgetGuard("budget", long)).one("aws:iam/role:Role").props["name"]
    assert (len(name), name.startswith("tonnage-eee")) == (64, True)


def test_notify_freezes_nothing(engine):
    types = {each.type for each in record(engine, on_exceed="notify").resources}
    assert "aws:budgets/budgetAction:BudgetAction" not in types


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"frozen_role_names": ()}, "freeze has no role to freeze"),
        ({"frozen_role_names": "node"}, "'node' is str, not a list"),
        ({"plan": replace(PLAN, monthly_usd=0.0)}, "0.0 USD; limit: more than 0"),
        ({"plan": replace(PLAN, on_exceed="stop")}, "'stop' is not known"),
        ({"plan": replace(PLAN, notify=tuple(f"a{n}@example.com" for n in range(11)))}, "11 addresses"),
        ({"burn": Bounds(floor=3.0, expected=2.0, ceiling=8.0)}, "limit: floor <= expected <= ceiling"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_registered(changes, line):
    with pytest.raises(BadInput) as caught:
        replace(ARGS, **changes)
    assert line in caught.value.line()
