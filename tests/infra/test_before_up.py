"""What must be settled before ``pulumi up``: which step each stack file asks for, and what a real ``up`` refuses."""

from __future__ import annotations

import functools
import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import infra.program
from components.common.images import mirrored
from infra.before_up import (
    Step,
    cluster_steps,
    in_order,
    refuse_foreign_caller,
    refuse_missing_commands,
    refuse_what_stops,
    serving_steps,
)
from infra.config import STACKS_DIR, config_values, settings_from_file, stack_file
from infra.offline import OfflineGraph, run_offline
from infra.preview import build_preview
from infra.program import main, plan_for
from infra.recording import record
from infra.settings.cluster import ClusterSettings
from infra.settings.serving import ServingSettings
from infra.versions import QDRANT_IMAGE
from sizing.catalogue import load_catalogue
from sizing.catalogue.gated import is_gated
from sizing.errors import BadInput
from sizing.inputs import Capacity, Quota
from tests.support.filled import ADMIN, fill

CATALOGUE = load_catalogue()
QUOTAS = "tonnage:capacity.quotas"


@functools.cache
def shipped(stack: str) -> ClusterSettings | ServingSettings:
    return settings_from_file(stack_file(stack))


def of_cluster(**changes: object) -> tuple[Step, ...]:
    settings = shipped("dev-cluster")
    return cluster_steps("dev-cluster", settings.model_copy(update=changes))


def of_serving(stack: str = "dev", **changes: object) -> tuple[Step, ...]:
    settings = shipped(stack)
    return serving_steps(stack, settings.model_copy(update=changes), plan_for(settings, stack), CATALOGUE)


def stopping(steps: tuple[Step, ...]) -> list[str]:
    return [step.key for step in steps if step.stops]


def told(steps: tuple[Step, ...], key: str) -> list[tuple[str, str]]:
    return [(step.says, step.settle) for step in steps if step.key == key]


def test_every_step_says_what_settles_it_and_those_that_stop_come_first() -> None:
    steps = in_order((*of_cluster(), *of_serving()))
    assert all(step.says and step.settle for step in steps)
    assert [step.stops for step in steps] == sorted((step.stops for step in steps), reverse=True)
    assert len({(step.key, step.says) for step in steps}) == len(steps)


def test_the_shipped_stacks_name_all_of_their_placeholders_and_the_missing_token() -> None:
    assert stopping(of_cluster()) == ["tonnage:publicAccessCidrs", "tonnage:adminRoleArns[0]"]
    assert stopping(of_serving()) == [
        "tonnage:runtime.imageDigest", "tonnage:runtime.toolsDigest", "tonnage:hubSecretArn",
    ]  # fmt: skip


def test_an_api_that_nobody_reaches_stops_and_a_network_of_ones_own_settles_it() -> None:
    assert stopping(of_cluster(public_access_cidrs=("198.18.0.0/24",))) == ["tonnage:adminRoleArns[0]"]
    assert stopping(of_cluster(api_access_cidrs=("10.20.0.0/16",))) == ["tonnage:adminRoleArns[0]"]
    assert stopping(of_cluster(public_access_cidrs=("203.0.113.7/32",)))[0] == "tonnage:publicAccessCidrs"
    (note,) = told(of_cluster(api_access_cidrs=("10.20.0.0/16",)), "tonnage:apiAccessCidrs")
    assert note[0].startswith("10.20.0.0/16 must be routed to the new network 10.40.0.0/16")


@pytest.mark.parametrize("account", ["123456789012", "111122223333", "999999999999", "000000000000"])
def test_an_account_of_documentation_stops_wherever_an_arn_names_it(account: str) -> None:
    secret = f"arn:aws:secretsmanager:us-east-1:{account}:secret:tonnage/dev/hub-token"
    assert "tonnage:hubSecretArn" in stopping(of_serving(hub_secret_arn=secret))
    mirror = f"{account}.dkr.ecr.us-east-1.amazonaws.com/docker-hub"
    assert "tonnage:registryMirror" in stopping(of_cluster(registry_mirror=mirror))
    assert stopping(of_serving(hub_secret_arn=secret.replace(account, "210987654321"))) == [
        "tonnage:runtime.imageDigest", "tonnage:runtime.toolsDigest",
    ]  # fmt: skip


def test_any_digest_of_one_digit_is_a_placeholder() -> None:
    runtime = shipped("dev").runtime
    same, real = f"sha256:{'a' * 64}", f"sha256:{'ab' * 32}"
    found = stopping(of_serving(runtime=runtime.model_copy(update={"image_digest": real, "tools_digest": same})))
    assert found == ["tonnage:runtime.toolsDigest", "tonnage:hubSecretArn"]


def test_a_model_without_a_pinned_commit_stops_and_a_stated_commit_settles_it() -> None:
    settings, name = (
        shipped("dev"),
        next(m for m in CATALOGUE.models if not re.fullmatch("[0-9a-f]{40}", CATALOGUE.model(m).revision)),
    )
    plan = plan_for(settings, "dev")
    plan = replace(plan, models=(replace(plan.models[0], model=name),))
    entry = settings.models[0].model_copy(update={"model": name})

    def found(**changes: object) -> list[tuple[str, str]]:
        one = settings.model_copy(update={"models": (entry.model_copy(update=changes),)})
        return told(serving_steps("dev", one, plan, CATALOGUE), "tonnage:models[0].revision")

    ((says, settle),) = found()
    assert says.startswith(f"chat: its weights cannot be copied: model {name} has no pinned commit")
    assert settle.endswith(f"git ls-remote https://huggingface.co/{name} HEAD")
    assert found(revision="0a" * 20) == []


def test_only_models_that_are_gated_need_a_token() -> None:
    gated = [name for name in CATALOGUE.models if is_gated(name)]
    assert {name.split("/")[0] for name in gated} == {"google", "meta-llama"}
    assert {name for name in CATALOGUE.models if name.startswith("meta-llama/")} < set(gated)
    assert not is_gated("google/gemma-4-26B-A4B")


@pytest.mark.parametrize(
    ("notify", "said"),
    [
        ((), ["names nobody: alarms of the budget reach no one"]),
        (("ops@example.com",), ["ops@example.com take no mail: alarms of the budget reach no one"]),
        (("a@corp.io",), ["AWS writes to a@corp.io once"]),
        (("a@corp.io", "b@x.test"), ["b@x.test take no mail: they get no alarm", "AWS writes to a@corp.io once"]),
    ],
)
def test_a_budget_says_who_hears_of_it_and_who_must_confirm(notify: tuple[str, ...], said: list[str]) -> None:
    budget = shipped("dev").budget.model_copy(update={"notify": notify})
    found = told(of_serving(budget=budget), "tonnage:budget.notify")
    assert [says.partition(";")[0] for says, _ in found] == said


def test_what_a_person_must_do_at_aws_is_told_with_its_command() -> None:
    steps = {step.key: step for step in of_serving()}
    assert "TagKey=tonnage:stack,Status=Active" in steps["tonnage:budget"].settle
    assert "--secret-id tonnage/dev/gateway-api-keys" in steps["tonnage:gateway.apiKeysSecretArn"].settle
    assert steps["command aws"].settle == "aws --version"
    codes = [settle.partition("--quota-code ")[2].split()[0] for _, settle in told(of_serving(), QUOTAS)]
    stated = Capacity(quotas=tuple(Quota(code=code, vcpus=1000) for code in codes))
    assert codes
    assert QUOTAS not in {step.key for step in of_serving(capacity=stated)}
    assert not any(steps[key].stops for key in ("tonnage:budget", "command aws", "tonnage:capacity.quotas"))


def test_what_two_stacks_ask_for_alike_stands_once() -> None:
    step = Step(stack="a", key="k", stops=False, says="s", settle="c")
    assert in_order([step, replace(step, stops=True, key="x"), replace(step, stack="b")]) == (
        replace(step, stops=True, key="x"), step,
    )  # fmt: skip


def test_a_refusal_is_one_line_with_everything_that_stops_and_nothing_stops_a_settled_stack() -> None:
    with pytest.raises(BadInput) as refused:
        refuse_what_stops(of_serving())
    line = refused.value.line()
    assert line.startswith("stack dev: 3 things stop it before anything is created: tonnage:runtime.imageDigest: is ")
    assert "tonnage:hubSecretArn: the hub gives meta-llama/Llama-3.1-8B-Instruct only" in line
    assert "\n" not in line
    refuse_what_stops(step for step in of_serving() if not step.stops)


def test_a_command_that_up_starts_and_that_is_not_there_is_named() -> None:
    refuse_missing_commands(lambda name: f"/usr/bin/{name}")
    with pytest.raises(BadInput, match=r"PATH: has no command `aws`, but every call to Kubernetes .*aws --version"):
        refuse_missing_commands(lambda name: None)


ROLE = "arn:aws:iam::210987654321:role/teams/platform-admin"


@pytest.mark.parametrize(
    ("caller", "admitted"),
    [
        ("arn:aws:sts::210987654321:assumed-role/platform-admin/me", True),
        (ROLE, True),
        ("arn:aws:sts::210987654321:assumed-role/teams/me", False),
        ("arn:aws:sts::210987654322:assumed-role/platform-admin/me", False),
        ("arn:aws:iam::210987654321:user/platform-admin", False),
        ("arn:aws:iam::210987654321:root", False),
        ("", False),
    ],
)
def test_only_a_caller_in_an_admin_role_may_found_a_cluster(caller: str, admitted: bool) -> None:
    if admitted:
        refuse_foreign_caller(caller, (ROLE,))
        return
    with pytest.raises(BadInput, match=r"tonnage:adminRoleArns: .*would get no rights in the cluster; limit: "):
        refuse_foreign_caller(caller, (ROLE,))


@pytest.mark.parametrize("stack", ["dev-cluster", "dev"])
def test_a_real_run_refuses_a_shipped_stack_before_anything_is_registered(stack: str, monkeypatch) -> None:
    monkeypatch.chdir(STACKS_DIR.parent)
    asked: list[str] = []

    def answer(token: str, name: str, inputs: object) -> dict[str, object]:
        asked.append(token)
        return {}

    with pytest.raises(BadInput, match=rf"^stack {stack}: \d things stop it before anything is created"):
        record(
            lambda: runpy.run_path("infra/__main__.py", run_name="__main__") and None,
            stack=stack, config=config_values(stack_file(stack)), answer=answer,
        )  # fmt: skip
    assert asked == []


@pytest.mark.parametrize("admitted", [True, False])
def test_a_real_run_of_a_settled_cluster_asks_aws_who_calls_before_it_registers_anything(
    tmp_path, monkeypatch, admitted: bool
) -> None:
    async def caller(provider: object) -> str:
        return ADMIN if admitted else "arn:aws:iam::210987654321:user/me"

    composed: list[str] = []
    monkeypatch.setattr(infra.program, "caller_arn", caller)
    monkeypatch.setattr(infra.program, "refuse_missing_commands", lambda: None)
    monkeypatch.setattr(infra.program, "compose_cluster", lambda settings, stack, account: composed.append(stack) or {})
    fill(STACKS_DIR, tmp_path)
    values = config_values(stack_file("dev-cluster", tmp_path))
    if admitted:
        record(lambda: main(tmp_path), stack="dev-cluster", config=values)
        assert composed == ["dev-cluster"]
        return
    with pytest.raises(BadInput, match="arn:aws:iam::210987654321:user/me runs this"):
        record(lambda: main(tmp_path), stack="dev-cluster", config=values)
    assert composed == []


def stated(folder: Path, stack: str, **keys: object) -> OfflineGraph:
    """Return what a settled stack makes with more keys in its file."""
    fill(STACKS_DIR, folder)
    file = folder / f"Pulumi.{stack}.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"] |= {f"tonnage:{key}": value for key, value in keys.items()}
    file.write_text(yaml.safe_dump(document))
    return run_offline(stack, stacks_dir=folder)


BOUNDARY = "arn:aws:iam::210987654321:policy/boundary"
MIRROR = "210987654321.dkr.ecr.us-east-1.amazonaws.com/docker-hub"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> OfflineGraph:
    return stated(
        tmp_path_factory.mktemp("cluster"), "dev-cluster", apiAccessCidrs=["10.20.0.0/16", "fd00:1::/48"],
        permissionsBoundaryArn=BOUNDARY, registryMirror=MIRROR, flowLogDays=30,
    )  # fmt: skip


@pytest.fixture(scope="module")
def serving(tmp_path_factory) -> OfflineGraph:
    folder = tmp_path_factory.mktemp("serving")
    store = {"vectors": 1000, "dimensions": 64, "replicas": 1}
    return stated(folder, "dev", permissionsBoundaryArn=BOUNDARY, registryMirror=MIRROR, vectorStore=store)


def test_networks_that_reach_the_private_endpoint_are_rules_of_the_clusters_group(cluster) -> None:
    made = cluster.resources
    rules = [one.props for one in made if one.type == "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"]
    assert [(one["fromPort"], one.get("cidrIpv4"), one.get("cidrIpv6")) for one in rules] == [
        (443, "10.20.0.0/16", None), (443, None, "fd00:1::/48"),
    ]  # fmt: skip
    operators = next(one for one in made if one.type == "tonnage:index:Operators")
    assert len([urn for urn in operators.dependencies if "SecurityGroupIngressRule" in urn]) == 2


def test_every_role_of_both_layers_carries_the_stated_permissions_boundary(cluster, serving) -> None:
    for graph in (cluster, serving):
        roles = [one for one in graph.resources if one.type == "aws:iam/role:Role"]
        assert len(roles) >= 3
        assert [one.urn for one in roles if one.props.get("permissionsBoundary") != BOUNDARY] == []


def test_no_image_of_docker_hub_is_left_where_a_mirror_is_stated(cluster, serving) -> None:
    of = {one.name: one.props for one in (*cluster.resources, *serving.resources)}
    assert of["operators-envoy-gateway"]["values"]["global"]["imageRegistry"] == MIRROR
    assert of["operators-kube-prometheus-stack"]["values"]["grafana"]["image"]["registry"] == MIRROR
    pods = of["gateway-proxy"]["spec"]["provider"]["kubernetes"]["envoyDeployment"]
    assert pods["container"]["imageRepository"] == f"{MIRROR}/envoyproxy/envoy"
    images = re.findall(r'"image": "([^"]+)"', json.dumps([one.props for one in serving.resources]))
    assert f"{MIRROR}/{QDRANT_IMAGE}" in images
    assert [one for one in images if "." not in one.partition("/")[0] or one.startswith("docker.io/")] == []


@pytest.mark.parametrize(
    ("image", "taken_from"),
    [
        ("qdrant/qdrant:v1@sha256:ab", "m.io/hub/qdrant/qdrant:v1@sha256:ab"),
        ("docker.io/envoyproxy/envoy", "m.io/hub/envoyproxy/envoy"),
        ("busybox:1", "m.io/hub/library/busybox:1"),
        ("quay.io/a/b:1", "quay.io/a/b:1"),
        ("localhost:5000/a", "localhost:5000/a"),
    ],
)
def test_only_images_of_docker_hub_come_from_the_mirror(image: str, taken_from: str) -> None:
    assert mirrored(image, "m.io/hub") == taken_from
    assert mirrored(image, None) == image


def test_flow_logs_are_made_and_billed_where_they_are_asked_for(cluster) -> None:
    assert [one.props["trafficType"] for one in cluster.resources if one.type == "aws:ec2/flowLog:FlowLog"] == [
        "REJECT"
    ]
    bill = {line["name"]: line["usd_per_hour"]["expected"] for line in build_preview("x", cluster, [])["bill"]}
    assert bill["flow logs"] == pytest.approx(2 * 0.5 / 730, abs=1e-4)
