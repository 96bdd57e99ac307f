"""The whole program of every shipped stack: the same graph in preview and up, stable names, one change moves all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import pytest
import yaml

from infra import versions
from infra.config import STACKS_DIR, config_values, settings_from_file, stack_file, stacks
from infra.layers.cluster import warn_of_definitions
from infra.layers.serving import check_growth
from infra.offline import OfflineGraph, run_offline
from infra.outputs import VERSION, ClusterOutputs, parse
from infra.program import main, plan_for
from infra.provider_outputs import synthesise
from infra.recording import record
from infra.settings.names import OWN_OBJECTS
from infra.settings.serving import ServingSettings
from sizing.errors import BadInput
from tests.support.filled import fill
from tests.support.seeds import reseeded

ROOT = STACKS_DIR.parent
URNS = ROOT / "tests" / "urns"


@cache
def graph(stack: str, *, preview: bool = False) -> OfflineGraph:
    return run_offline(stack, preview=preview)


@pytest.mark.parametrize("stack", stacks())
def test_a_preview_shows_every_resource_of_the_deployment(stack):
    assert graph(stack, preview=True).urns == graph(stack).urns


@pytest.mark.parametrize("stack", stacks())
def test_no_resource_changed_its_name_unnoticed(stack):
    path = URNS / f"{stack}.txt"
    urns = "\n".join(graph(stack).urns) + "\n"
    if os.environ.get("TONNAGE_REWRITE_URNS"):
        path.write_text(urns)
    assert urns == path.read_text(), "a removed line deletes a resource: add an alias, or see tests/urns/README.md"


@pytest.mark.parametrize("stack", stacks())
def test_every_list_input_of_aws_is_a_list(stack):
    strings = []
    for resource in graph(stack).resources:
        if resource.type.startswith("aws:"):
            plural = [key for key in resource.props if key.endswith(("Ids", "Types", "Arns", "Cidrs", "CidrBlocks"))]
            strings += [(resource.urn, key) for key in plural if not isinstance(resource.props[key], list)]
    assert strings == []


@pytest.mark.parametrize("stack", stacks())
def test_every_resource_has_an_explicit_provider(stack):
    def package(resource) -> str:
        return resource.type.split(":")[0]

    wanted = [r for r in graph(stack).resources if r.custom and package(r) in {"aws", "kubernetes"}]
    wrong = [r.urn for r in wanted if f"pulumi:providers:{package(r)}::{package(r)}" not in r.provider]
    assert wrong == []


@pytest.mark.parametrize("stack", stacks())
def test_no_input_of_a_deployment_is_left_empty_by_missing_wiring(stack):
    text = json.dumps([resource.props for resource in graph(stack).resources])
    assert "None" not in text.replace('"clusterIP": "None"', "")
    assert "04da6b54" not in text, "an unknown value reached a deployment"


@pytest.mark.parametrize(("stack", "stated"), [("prod-cluster", True), ("dev-cluster", False)])
def test_protection_covers_every_resource_of_a_cluster_stack_that_states_it(stack, stated):
    made = [one for one in graph(stack).resources if one.type.startswith(("aws:", "kubernetes:"))]
    assert {one.protect for one in made} == {stated}


def test_prod_has_at_least_sixty_resources():
    assert len([r for r in graph("prod").resources if r.custom and not r.type.startswith("pulumi:")]) >= 60


def _digest(offline: OfflineGraph) -> str:
    return hashlib.sha256(json.dumps([asdict(resource) for resource in offline.resources]).encode()).hexdigest()


def test_another_hash_seed_and_the_whole_sdk_give_the_same_bytes():
    code = (
        "import infra.offline as offline; offline.load_only_what_is_named = lambda: None;"
        "from tests.infra.test_program import _digest; print(_digest(offline.run_offline('dev')));"
        "import pulumi_aws; print('Instance' in vars(pulumi_aws.ec2))"
    )
    called = [sys.executable, "-c", code]
    done = subprocess.run(called, cwd=ROOT, env=reseeded(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == [_digest(graph("dev")), "True"]


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    """The shipped stack files with nothing left that stops an ``up``."""
    folder = tmp_path_factory.mktemp("settled")
    fill(STACKS_DIR, folder)
    return folder


@pytest.fixture
def commands(monkeypatch):
    """Every command that an ``up`` starts is on the path."""
    monkeypatch.setattr("infra.before_up.COMMANDS", {})


@pytest.mark.usefixtures("commands")
def test_the_program_runs_the_way_the_language_host_starts_it(monkeypatch, settled):
    monkeypatch.chdir(ROOT)
    cluster = graph("dev-cluster").outputs

    def answer(token, name, inputs):
        if token == "pulumi:pulumi:StackReference":
            return {**inputs, "outputs": cluster, "secretOutputNames": []}
        return synthesise(token, name, inputs)

    def program() -> None:
        runpy.run_path("infra/__main__.py", run_name="__main__")

    recording = record(program, stack="dev", config=config_values(stack_file("dev", settled)), answer=answer)
    assert set(recording.urns) > set(graph("dev").urns)
    assert recording.one("pulumi:pulumi:StackReference").name == "organization/tonnage/dev-cluster"


@pytest.mark.usefixtures("commands")
def test_a_serving_stack_before_its_cluster_is_refused_with_the_way_out(settled):
    def answer(token, name, inputs):
        return {**inputs, "outputs": {}, "secretOutputNames": []}

    def program() -> None:
        runpy.run_path(str(ROOT / "infra/__main__.py"), run_name="__main__")

    with pytest.raises(BadInput, match="deploy dev-cluster first: pulumi up --stack dev-cluster"):
        record(program, stack="dev", config=config_values(stack_file("dev", settled)), answer=answer)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"version": 99}, "has outputs of version 99; limit: version 1"),
        ({"endpoint": None}, "output cluster.endpoint is missing"),
        ({"private_subnet_ids": ["subnet-1"]}, r"output cluster.private_subnet_ids is \['subnet-1'\]"),
    ],
)
def test_outputs_of_another_shape_are_refused(change, problem):
    exported = {**graph("dev-cluster").outputs["cluster"], **change}
    with pytest.raises(BadInput, match=f"cluster stack dev-cluster: {problem}.*deploy dev-cluster first"):
        parse(exported, "dev-cluster")


def test_the_contract_between_the_stacks_is_complete():
    outputs = parse(graph("prod-cluster").outputs["cluster"], "prod-cluster")
    assert isinstance(outputs, ClusterOutputs)
    assert VERSION == 1
    assert set(outputs.private_subnet_ids) >= {zone for pool in graph("prod").plan.pools for zone in pool.zones}


def test_a_serving_stack_without_a_cluster_stack_file_is_refused(tmp_path):
    (tmp_path / "Pulumi.lone.yaml").write_text(stack_file("dev").read_text())
    with pytest.raises(BadInput, match="cluster stack lone-cluster: has no stack file"):
        run_offline("lone", stacks_dir=tmp_path)


def test_pools_in_zones_without_a_subnet_are_refused(tmp_path):
    (tmp_path / "Pulumi.dev.yaml").write_text(stack_file("dev").read_text())
    document = yaml.safe_load(stack_file("dev-cluster").read_text())
    document["config"]["tonnage:zoneIds"] = ["use1-az4", "use1-az5"]
    (tmp_path / "Pulumi.dev-cluster.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(BadInput, match=r"pools\.chat-spot\.zones: .* have no subnet .*tonnage:zoneIds"):
        run_offline("dev", stacks_dir=tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("tonnage:hubSecretArn", "{}"), ("tonnage:gateway", {"apiKeysSecretArn": "{}"})],
)
def test_a_secret_that_the_cluster_may_not_read_is_refused(tmp_path, key, value):
    def put(name):
        arn = f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf"
        document = yaml.safe_load(stack_file("dev").read_text())
        document["config"][key] = arn if value == "{}" else {"apiKeysSecretArn": arn}
        (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump(document))
        return run_offline("dev", stacks_dir=tmp_path)

    (tmp_path / "Pulumi.dev-cluster.yaml").write_text(stack_file("dev-cluster").read_text())
    assert put("tonnage/dev/own").urns
    with pytest.raises(BadInput, match=r"elsewhere/key-AbCdEf cannot be read by tonnage-dev; limit: .*tonnage/dev/"):
        put("elsewhere/key")


def test_the_names_that_models_may_not_take_are_those_of_all_objects_beside_them(tmp_path):
    document = yaml.safe_load(stack_file("prod").read_text())
    document["config"]["tonnage:hubSecretArn"] = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tonnage/prod/hub"
    (tmp_path / "Pulumi.prod.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "Pulumi.prod-cluster.yaml").write_text(stack_file("prod-cluster").read_text())
    placed = [one for one in run_offline("prod", stacks_dir=tmp_path).resources if one.type.startswith("kubernetes:")]
    beside = {
        one.props["metadata"]["name"]
        for one in placed
        if one.props["metadata"].get("namespace") == "serving"
        and not any(owner in one.urn for owner in ("index:ModelService$", "index:Gateway$", ":Job::", "ClaimPatch::"))
    }
    assert beside | {"default"} == set(OWN_OBJECTS)


JOB, GROUP, BOUGHT = "kubernetes:batch/v1:Job", "tonnage:index:GpuNodeGroup", "tonnage:index:KarpenterPools"


def test_machines_are_bought_when_all_weights_are_there_and_models_wait_for_both():
    recorded = graph("prod").resources
    of = {token: [one for one in recorded if one.type == token] for token in (JOB, GROUP, BOUGHT)}
    jobs = {job.urn for job in of[JOB]}
    assert len(jobs) == len(of[GROUP]) == 2
    assert all(jobs <= set(group.dependencies) for group in of[GROUP])
    assert not any(jobs & set(pools.dependencies) for pools in of[BOUGHT])  # they buy for pods only
    machines = {one.urn for one in recorded if one.type == "aws:eks/nodeGroup:NodeGroup"}
    machines |= {one.urn for one in recorded if one.type == "kubernetes:karpenter.sh/v1:NodePool"}
    models = [one for one in recorded if one.type == "tonnage:index:ModelService"]
    assert len(models) == 2
    assert all(jobs | machines <= set(model.dependencies) for model in models)


def test_nothing_below_a_node_group_is_asked_for_before_the_jobs_have_answered():
    asked = []

    def answer(token, name, inputs):
        asked.append(token)
        outputs = {**inputs, "outputs": graph("prod-cluster").outputs, "secretOutputNames": []}
        return outputs if token == "pulumi:pulumi:StackReference" else synthesise(token, name, inputs)

    record(partial(main, offline=True), stack="prod", config=config_values(stack_file("prod")), answer=answer)
    last_job = max(place for place, token in enumerate(asked) if token == JOB)
    assert last_job < asked.index("aws:ec2/launchTemplate:LaunchTemplate") < asked.index("aws:eks/nodeGroup:NodeGroup")


IN_TEMPLATES = {"external-secrets", "keda"}  # values installCRDs and crds.install, both on by default
WITHOUT = {"dcgm-exporter", "nvidia-device-plugin"}


def test_helm_updates_the_definitions_of_every_chart_or_the_command_that_does_is_known():
    for name, chart in {**versions.CHARTS, "karpenter": versions.KARPENTER}.items():
        known = [chart.crds is not None, bool(chart.crds_command), name in IN_TEMPLATES | WITHOUT]
        assert sum(known) == 1, name
        assert chart.crds is None or "keep" in str(chart.crds.values)
    assert versions.KARPENTER.crds.version == versions.KARPENTER.version


def test_a_newer_chart_whose_definitions_helm_leaves_is_warned_of_with_the_command():
    was = {**graph("dev-cluster").outputs["charts"], "envoy-gateway": "v1.8.0", "keda": "2.20.0"}
    recording = record(lambda: warn_of_definitions({"charts": was}), stack="dev-cluster", config={})
    ((level, text),) = recording.messages
    assert level == "warning"
    assert "helm show crds oci://docker.io/envoyproxy/gateway-helm --version v1.9.1 | kubectl apply" in text


def test_a_store_may_grow_and_smaller_volumes_than_it_has_are_refused_with_the_way_out():
    plan = graph("prod").plan
    check_growth(plan, {})
    check_growth(plan, {"vectorStoreDiskGib": 20})
    with pytest.raises(BadInput) as refused:
        check_growth(plan, {"vectorStoreDiskGib": 900})
    assert refused.value.line() == (
        "vectorStore: a disk of 40 GiB per replica is planned; limit: 900 GiB, the size of its volumes, which cannot "
        "shrink; hint: state diskGib: 900, or restore a snapshot into a new store"
    )


def test_the_page_about_notices_names_the_rule_the_queue_and_the_alarm_that_the_stacks_make():
    page = (ROOT / "docs" / "how-to" / "test-notices.md").read_text()
    made = {one.type: one.props for one in (*graph("dev-cluster").resources, *graph("dev").resources)}
    assert f"--queue-name {made['aws:sqs/queue:Queue']['name']} " in page
    assert f"Value={made['aws:cloudwatch/eventRule:EventRule']['name']} " in page
    assert f"--alarm-name {made['aws:cloudwatch/metricAlarm:MetricAlarm']['name']} " in page


def seconds(duration):
    return sum(int(count) * {"h": 3600, "m": 60, "s": 1}[unit] for count, unit in re.findall(r"(\d+)([hms])", duration))


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_no_hop_on_the_way_of_a_request_cuts_the_longest_answer_or_its_silence(stack):
    made = graph(stack)
    spec = {(one.type.rpartition(":")[2], one.props["metadata"]["name"]): one.props["spec"]
            for one in made.resources if "spec" in one.props}  # fmt: skip
    (listener,) = (one for (kind, _), one in spec.items() if kind == "ClientTrafficPolicy")
    (proxy,) = (one for (kind, _), one in spec.items() if kind == "EnvoyProxy")
    annotations = proxy["provider"]["kubernetes"]["envoyService"]["annotations"]
    (idle,) = (value for key, value in annotations.items() if "listener-attributes" in key)
    for model in made.plan.models:
        longest = model.longest_answer.total_s
        policy = spec["BackendTrafficPolicy", model.name]
        assert seconds(policy["timeout"]["http"]["requestTimeout"]) >= longest
        assert "maxStreamDuration" not in policy["timeout"]["http"]
        assert seconds(listener["timeout"]["http"]["streamIdleTimeout"]) > longest
        assert [rule for rule in spec["HTTPRoute", model.name]["rules"] if "timeouts" in rule] == []
        assert min(int(idle.partition("=")[2]), 350) > 2 * seconds(listener["tcpKeepalive"]["idleTime"])
        assert min(int(idle.partition("=")[2]), 350) > 2 * seconds(policy["tcpKeepalive"]["idleTime"])
        pod = spec["Deployment", model.name]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == model.drain.grace_period_s


def test_versions_are_pinned_and_images_have_digests():
    text = Path(versions.__file__).read_text()
    assert "@sha256:" in versions.QDRANT_IMAGE
    for floating in ("latest", '"main"', '"master"'):
        assert floating not in text


def _with_model(name: str) -> ServingSettings:
    settings = settings_from_file(stack_file("dev"))
    assert isinstance(settings, ServingSettings)
    entry = settings.models[0].model_copy(update={"model": name})
    budget = settings.budget.model_copy(update={"monthly_usd": 200_000.0})
    return settings.model_copy(update={"models": (entry,), "budget": budget})


def test_one_changed_model_moves_every_figure_that_other_stacks_copy_by_hand():
    small = plan_for(_with_model("meta-llama/Llama-3.1-8B-Instruct"), "dev")
    large = plan_for(_with_model("meta-llama/Llama-3.3-70B-Instruct"), "dev")
    (a,), (b,) = small.models, large.models
    pools = {pool.name: pool for pool in small.pools}, {pool.name: pool for pool in large.pools}
    changed = {
        "GPU or tensor parallelism": ((a.gpu, a.tensor_parallel), (b.gpu, b.tensor_parallel)),
        "instance type": (a.instance_type, b.instance_type),
        "GPUs of a pod": (a.resources.gpus, b.resources.gpus),
        "shared memory": (a.resources.shm_gib, b.resources.shm_gib),
        "start-up budget": (a.probes.startup.failure_threshold, b.probes.startup.failure_threshold),
        "longest answer": (a.longest_answer.total_s, b.longest_answer.total_s),
        "disk": (pools[0]["chat-spot"].disk, pools[1]["chat-spot"].disk),
        "pool types and limit": tuple(
            (by_name["chat-spot"].offers[0].instance_type, by_name["chat-spot"].gpu_limit) for by_name in pools
        ),
        "burn": (small.burn_usd_per_hour, large.burn_usd_per_hour),
        "budget thresholds": (small.budget.actual_thresholds_percent, large.budget.actual_thresholds_percent),
        "engine arguments": (a.engine_args, b.engine_args),
    }
    assert [name for name, (before, after) in changed.items() if before == after] == []
    assert b.tensor_parallel > a.tensor_parallel
    assert b.probes.startup.failure_threshold > a.probes.startup.failure_threshold
    assert large.burn_usd_per_hour.ceiling > small.burn_usd_per_hour.ceiling


def test_an_offline_run_opens_no_connection_and_needs_no_home(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    for name in [key for key in os.environ if key == "HOME" or key.startswith(("AWS_", "PULUMI_", "KUBE"))]:
        monkeypatch.delenv(name)
    assert run_offline("dev").urns == graph("dev").urns
