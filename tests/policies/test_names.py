"""Names: length and letters by service, one owner in the account, and a stack name that no derived name outgrows."""

from __future__ import annotations

import shutil

import pytest

from infra.config import STACKS_DIR, stack_file
from infra.offline import run_offline
from infra.settings.names import MOST_ENVIRONMENT, check_stack_name
from policies.graph import Resource
from policies.rules.names.name_limits import name_limits
from policies.rules.names.unique_cloud_names import unique_cloud_names
from sizing.errors import BadInput
from tests.policies.graphs import good, resources

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
HINT = "; hint: a shorter or simpler environment or model name"


def named(token: str, key: str, name: str) -> list[str]:
    graph = {"one": (token, {key: name} if token.startswith("aws:") else {"metadata": {"name": name}})}
    return [one.message for one in name_limits(resources(graph))]


@pytest.mark.parametrize(
    ("token", "key", "most"),
    [
        ("aws:iam/role:Role", "name", 64),
        ("aws:s3/bucket:Bucket", "bucket", 63),
        ("aws:sqs/queue:Queue", "name", 80),
        ("aws:eks/cluster:Cluster", "name", 100),
        ("aws:eks/nodeGroup:NodeGroup", "nodeGroupName", 63),
        ("aws:cloudwatch/eventRule:EventRule", "name", 64),
        ("kubernetes:core/v1:Service", "name", 63),
        ("kubernetes:apps/v1:StatefulSet", "name", 52),
        ("kubernetes:apps/v1:Deployment", "name", 253),
    ],
)
def test_a_name_of_the_most_characters_passes_and_one_more_does_not(token, key, most):
    assert named(token, key, "a" * most) == []
    kind = token.rpartition(":")[2]
    (found,) = named(token, key, "a" * (most + 1))
    assert found == f"{kind} '{'a' * (most + 1)}' has {most + 1} characters; limit: {most}{HINT}"


@pytest.mark.parametrize(
    ("token", "key", "name"),
    [
        ("aws:s3/bucket:Bucket", "bucket", "Models"),
        ("aws:sqs/queue:Queue", "name", "dev.eu"),
        ("aws:ecr/repository:Repository", "name", "tonnage/dev--eu"),
        ("kubernetes:core/v1:Namespace", "name", "serving_eu"),
        ("kubernetes:core/v1:Service", "name", "9lives"),
    ],
)
def test_letters_that_a_service_does_not_take_are_named(token, key, name):
    (found,) = named(token, key, name)
    assert f"{name!r} has characters that are not allowed; limit: " in found


def test_a_name_that_is_not_known_yet_is_not_judged():
    assert named("aws:iam/role:Role", "name", UNKNOWN * 3) == []


def test_a_label_of_a_pod_template_is_judged_too():
    graph = good()
    graph["chat"][1]["spec"]["template"]["metadata"]["labels"]["app"] = "a" * 64
    assert [one.message for one in name_limits(resources(graph))] == [
        f"Deployment label app: '{'a' * 64}' has 64 characters; limit: 63{HINT}"
    ]


def test_two_roles_of_one_name_are_refused():
    graph = {name: ("aws:iam/role:Role", {"name": "tonnage-dev"}) for name in ("one", "two")}
    assert [one.message for one in unique_cloud_names(resources(graph))] == [
        "Role tonnage-dev is also one; limit: one of a name; hint: give one another name"
    ]


def test_the_longest_stack_name_makes_only_names_that_fit_and_the_next_does_not(tmp_path):
    name = "e" * MOST_ENVIRONMENT
    shutil.copy(stack_file("dev-cluster", STACKS_DIR), tmp_path / f"Pulumi.{name}-cluster.yaml")
    made = [
        Resource(type=one.type, name=one.name, urn=one.urn, props=one.props)
        for one in run_offline(f"{name}-cluster", stacks_dir=tmp_path).resources
    ]
    assert name_limits(made) == []
    assert max(len(one.props["name"]) for one in made if one.type == "aws:iam/role:Role") == 64


@pytest.mark.parametrize("stack", ["Prod", "dev.eu", "dev_eu", "dev--cluster", "-cluster", "e" * 28])
def test_a_cluster_stack_name_that_some_service_does_not_take_is_refused(stack):
    name = stack.removesuffix("-cluster")
    with pytest.raises(BadInput) as refused:
        check_stack_name(stack, cluster=True)
    assert refused.value.line() == (
        f"stack {stack}: {name!r} cannot be part of names in AWS; limit: lower-case letters, digits and single - "
        "between them, at most 27 characters; hint: name the stack, and its file, otherwise"
    )
