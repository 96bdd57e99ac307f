"""Operators: pinned, on system nodes, with no more permissions than they need."""

import json
from dataclasses import replace

import pulumi
import pytest

from components.cluster.operators import documents
from components.cluster.operators.component import Operators, OperatorsArgs
from components.cluster.operators.policy import external_secrets_policy, load_balancer_policy
from components.cluster.operators.releases import OperatorReleases, OperatorReleasesArgs
from components.cluster.registry.component import Registry, RegistryArgs
from components.common.charts import ChartVersion, CrdChart
from sizing.errors import BadInput

CHART = ChartVersion(chart="oci://registry.example.com/chart", version="1.2.3")
CLUSTER = "arn:aws:eks:us-east-1:123456789012:cluster/tonnage-dev"
ARGS = OperatorsArgs(
    charts=dict.fromkeys(documents.OPERATORS, CHART),
    cluster_name="tonnage-dev",
    cluster_arn=CLUSTER,
    vpc_id="vpc-1",
    region="us-east-1",
    secrets_prefix="tonnage/dev",
    tags={"tonnage:stack": "dev-cluster"},
)


@pytest.fixture
def recording(engine):
    return engine.run(lambda: Operators("operators", ARGS))


def releases(recording):
    return {each.props["name"]: each for each in recording.resources if each.type == "kubernetes:helm.sh/v3:Release"}


def test_every_operator_is_one_release_of_its_pinned_chart(recording):
    found = releases(recording)
    assert sorted(found) == sorted(documents.OPERATORS)
    assert {each.props["version"] for each in found.values()} == {"1.2.3"}


def test_definitions_with_a_chart_of_their_own_come_first_are_updated_and_outlive_their_release(engine):
    crds = CrdChart(name="own-crds", chart="oci://registry.example.com/crds", version="1.2.4", values={"keep": "yes"})
    charts = {**ARGS.charts, "keda": replace(CHART, crds=crds)}
    found = releases(engine.run(lambda: Operators("operators", replace(ARGS, charts=charts))))
    own, chart = found["own-crds"], found["keda"]
    assert (own.props["version"], own.props["values"]) == ("1.2.4", {"keep": "yes"})
    assert own.urn in chart.dependencies
    assert (chart.props["skipCrds"], found["envoy-gateway"].props["skipCrds"]) == (True, False)


def test_a_release_that_fails_or_is_interrupted_is_taken_back(recording):
    assert all(one.props["atomic"] and one.props["cleanupOnFail"] for one in releases(recording).values())


def test_the_install_order_respects_what_each_needs():
    done = []
    for operator in documents.INSTALL_ORDER:
        assert set(documents.OPERATORS[operator].after) <= set(done), operator
        done.append(operator)
    assert sorted(done) == sorted(documents.OPERATORS)


def test_gpu_daemons_tolerate_the_taint_and_look_for_pools_only(recording):
    values = releases(recording)["nvidia-device-plugin"].props["values"]
    assert values["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "tonnage.dev/pool" in json.dumps(values["affinity"])


def test_nothing_watches_what_eks_runs_and_shows_nobody(recording):
    values = releases(recording)["kube-prometheus-stack"].props["values"]
    parts = ("kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler")
    assert [values[part] for part in parts] == [{"enabled": False}] * 4
    rules = {"etcd", "kubeControllerManager", "kubeProxy", "kubeSchedulerAlerting", "kubeSchedulerRecording"}
    assert values["defaultRules"]["rules"] == dict.fromkeys(rules, False)
    assert releases(recording)["nvidia-device-plugin"].props["values"]["nfd"] == {"enabled": False}


def test_prometheus_alertmanager_and_grafana_have_requests(recording):
    values = releases(recording)["kube-prometheus-stack"].props["values"]
    asked = [values["prometheus"]["prometheusSpec"], values["alertmanager"]["alertmanagerSpec"], values["grafana"]]
    assert [one["resources"]["requests"]["memory"] for one in asked] == ["1Gi", "64Mi", "256Mi"]


def test_grafana_has_a_generated_password_before_it_starts(recording):
    monitoring = releases(recording)["kube-prometheus-stack"]
    assert monitoring.props["values"]["grafana"]["admin"] == {"existingSecret": "grafana-admin"}
    assert "operators-grafana-secret" in {urn.rsplit("::", 1)[-1] for urn in monitoring.dependencies}


def test_volumes_are_encrypted_by_default(recording):
    storage = recording.one("kubernetes:storage.k8s.io/v1:StorageClass").props
    assert storage["parameters"] == {"type": "gp3", "encrypted": "true"}
    assert storage["volumeBindingMode"] == "WaitForFirstConsumer"


def test_external_secrets_reads_the_stacks_prefix_only():
    (statement,) = json.loads(external_secrets_policy(CLUSTER, "tonnage/dev"))["Statement"]
    assert statement["Resource"] == ["arn:aws:secretsmanager:us-east-1:123456789012:secret:tonnage/dev/*"]


def test_the_load_balancer_controller_changes_only_what_it_tagged():
    policy = json.loads(load_balancer_policy(CLUSTER, ""))
    by_name = {each["Sid"]: each for each in policy["Statement"]}
    own = {"StringEquals": {"aws:ResourceTag/elbv2.k8s.aws/cluster": "tonnage-dev"}}
    assert by_name["ChangeOwnBalancers"]["Condition"] == own
    assert [name for name, each in by_name.items() if each["Resource"] == ["*"]] == ["Read"]


def test_a_load_balancer_with_security_groups_can_be_made():
    by_name = {each["Sid"]: each for each in json.loads(load_balancer_policy(CLUSTER, ""))["Statement"]}
    assert "ec2:GetSecurityGroupsForVpc" in by_name["Read"]["Action"]


def test_the_first_load_balancer_of_an_account_can_be_made():
    policy = json.loads(load_balancer_policy(CLUSTER, ""))
    (role,) = [each for each in policy["Statement"] if "iam:CreateServiceLinkedRole" in each["Action"]]
    assert role["Condition"] == {"StringEquals": {"iam:AWSServiceName": "elasticloadbalancing.amazonaws.com"}}


def test_a_namespace_ends_before_the_controller_that_removes_its_load_balancers(recording):
    spaces = [each for each in recording.resources if each.type == "kubernetes:core/v1:Namespace"]
    assert len(spaces) == len(documents.own_namespaces(list(documents.OPERATORS)))
    for space in spaces:
        assert "operators-aws-load-balancer-controller" in {urn.rsplit("::", 1)[-1] for urn in space.dependencies}


@pytest.mark.parametrize("version", ["latest", "1.2", "1.x", ">=1.0.0", ""])
def test_a_chart_that_floats_is_refused(version):
    with pytest.raises(BadInput, match="is not one version"):
        replace(CHART, version=version)


@pytest.mark.parametrize(
    ("charts", "line"),
    [
        ({}, "missing; hint: pin a chart"),
        ({**ARGS.charts, "istio": CHART}, "istio not known"),
        ("keda", "not a mapping"),
    ],
)
def test_bad_charts_are_one_line_before_anything_is_registered(charts, line):
    with pytest.raises(BadInput) as caught:
        replace(ARGS, charts=charts)
    assert line in caught.value.line()


def test_image_tags_cannot_be_moved_and_images_are_scanned(engine):
    recording = engine.run(lambda: Registry("registry", RegistryArgs(repository="tonnage/dev", tags={})))
    props = recording.one("aws:ecr/repository:Repository").props
    assert props["imageTagMutability"] == "IMMUTABLE"
    assert props["imageScanningConfiguration"] == {"scanOnPush": True}
    assert "untagged" in recording.one("aws:ecr/lifecyclePolicy:LifecyclePolicy").props["policy"]


def test_a_cluster_without_aws_takes_the_releases_alone(engine):
    charts = {name: CHART for name in documents.OPERATORS if name != documents.LOAD_BALANCERS}
    args = OperatorReleasesArgs(
        charts=charts,
        values={key: {} for key in charts},
        storage_class={"metadata": {"name": "local"}, "provisioner": "rancher.io/local-path"},
        secret_store={"provider": {"kubernetes": {}}},
    )
    recording = engine.run(lambda: OperatorReleases("operators", args, pulumi.ResourceOptions()))
    assert sorted(releases(recording)) == sorted(charts)
    assert not [each.type for each in recording.resources if each.type.startswith("aws:")]
