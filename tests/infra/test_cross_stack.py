"""A serving stack against the cluster that it deploys on: what the cluster cannot hold is refused in one line."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from components.serving.gateway.documents import PROXY_RESOURCES
from infra.config import settings_from_file, stack_file
from infra.layers.cross_stack import check_against_cluster
from infra.offline import run_offline
from infra.outputs import ClusterOutputs, parse
from infra.program import plan_for
from infra.settings.serving import ServingSettings
from sizing.catalogue.files import serving_facts
from sizing.errors import BadInput


@cache
def cluster() -> ClusterOutputs:
    return parse(run_offline("prod-cluster").outputs["cluster"], "prod-cluster")


def checked(hub_secret_arn: str | None = None, **changes) -> str:
    """Return the refusal of the prod stack on a cluster with these outputs."""
    settings = settings_from_file(stack_file("prod"))
    assert isinstance(settings, ServingSettings)
    settings = settings.model_copy(update={"hub_secret_arn": hub_secret_arn})
    with pytest.raises(BadInput) as refused:
        check_against_cluster(settings, plan_for(settings, "prod"), replace(cluster(), **changes))
    assert "\n" not in refused.value.line()
    return refused.value.line()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"region": "eu-west-1"},
            (
                "aws:region: us-east-1, but tonnage-prod is in eu-west-1; limit: the region of the cluster; "
                "hint: aws:region eu-west-1, or another tonnage:clusterStack"
            ),
        ),
        (
            {"kubernetes_version": "1.34"},
            (
                "Kubernetes of tonnage-prod: '1.34' has no tested add-ons and node image; limit: one of 1.35, 1.36; "
                "hint: take one of these, or add a row to infra/kubernetes_versions.json with the command that it names"
            ),
        ),
        (
            {"system_nodes": {"use1-az1": 1.0, "use1-az2": 1.0}},
            (
                "tonnage:vectorStore.replicas: 3, each on a node of its own, but the cluster has 2 x m7i.2xlarge; "
                "limit: 2 system nodes; hint: tonnage:systemNodes.count 3 in the cluster stack, or fewer replicas"
            ),
        ),
        (
            {"private_cidrs": {"use1-az4": "10.60.0.0/25", "use1-az6": "10.60.1.0/25"}},
            "subnet of use1-az4: ",
        ),
    ],
)
def test_what_a_cluster_cannot_hold_is_refused(changes, line):
    assert checked(**changes).startswith(line)


def test_a_secret_of_another_account_than_the_cluster_is_refused_but_for_the_account_of_the_examples():
    secret = "arn:aws:secretsmanager:us-east-1:{}:secret:tonnage/prod/hub"
    arn = "arn:aws:eks:us-east-1:111111111111:cluster/tonnage-prod"
    assert checked(secret.format("222222222222"), cluster_arn=arn) == (
        "tonnage:hubSecretArn: is in account 222222222222, tonnage-prod in 111111111111; "
        "limit: the account of the cluster; hint: make one in 111111111111 and give its ARN"
    )
    elsewhere = secret.format("222222222222").replace("tonnage/prod", "other")
    assert "cannot be read by tonnage-prod" in checked(elsewhere)


def test_a_proxy_asks_for_what_the_check_counts():
    facts = serving_facts("operators")
    asked = (f"{facts['proxy_cpu'] * 1000:.0f}m", f"{facts['proxy_memory_gib'] * 1024:.0f}Mi")
    assert (PROXY_RESOURCES["requests"]["cpu"], PROXY_RESOURCES["requests"]["memory"]) == asked
