"""The real Karpenter buys for twenty random stacks, on one control plane: what it pays is what the plan says.

Of each stack only what decides purchases is applied, as the program renders it: NodePools, node groups, Deployments.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from benchmarks.plans.problems import random_stack
from components.capacity.gpu_node_group import documents as node_groups
from components.capacity.karpenter_pools import documents as karpenter_pools
from components.common.node import node_labels
from components.serving.model_service.documents import deployment
from rehearsal.control_plane.crds import install_crds
from rehearsal.control_plane.objects import ObjectClient
from rehearsal.control_plane.processes import ControlPlane
from rehearsal.environment import STAGES, Environment
from rehearsal.karpenter.controller import Karpenter
from rehearsal.karpenter.offers import CloudMarket, disks_of
from rehearsal.process import Supervisor
from rehearsal.report import RehearsalReport
from rehearsal.simulated.node_groups import group_nodes
from sizing.catalogue import load_catalogue
from sizing.planning.planner import plan_stack
from tests.support.plans import plan_request

pytestmark = pytest.mark.rehearsal
SEEDS = (*range(11), *range(12, 16), *range(17, 22))
"""The first twenty random stacks that have a plan."""
NAMESPACE = "serving"


def plan_of(seed):
    problems = random_stack(seed)
    return plan_stack(plan_request([one.entry for one in problems], capacity=problems[0].capacity))


@pytest.fixture(scope="module")
def environment(toolbox):
    """A control plane and Karpenter, for all stacks."""
    with Supervisor() as supervisor, ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(toolbox, supervisor))
        install_crds(plane.api(), toolbox)
        disks = {name: size for seed in SEEDS for name, size in disks_of(plan_of(seed)).items()}
        market = CloudMarket(catalogue=load_catalogue(), region="us-east-1", disks_gib=disks)
        karpenter = stack.enter_context(
            Karpenter(toolbox.karpenter_kwok, plane.kubeconfig, supervisor, plane.api(), market)
        )
        client = ObjectClient(plane.api())
        client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield Environment(plane=plane, client=client, karpenter=karpenter, built_in=())


def documents_of(plan):
    """Yield the stack's NodePools and Deployments."""
    for pool in plan.pools:
        if pool.kind == "karpenter":
            spec = karpenter_pools.node_pool(pool, pool.name)
            yield {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": pool.name}, "spec": spec}
    for model in plan.models:
        spec = deployment(
            model, plan.pools, image="example.com/runtime", bucket="store", region=plan.region,
            service_account="default",
        )  # fmt: skip
        metadata = {"name": model.name, "namespace": NAMESPACE}
        yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {**spec, "replicas": 0}}


def floor_nodes(plan):
    """Return the nodes of the stack's node groups."""
    return [
        node
        for pool in plan.pools
        if pool.kind == "managed"
        for node in group_nodes(
            pool.name,
            {
                "instanceTypes": node_groups.instance_types(pool),
                "scalingConfig": {"desiredSize": node_groups.scaling(pool)["desired_size"]},
                "labels": node_labels(pool),
                "taints": [node_groups.taint(pool)],
            },
            zones=sorted(pool.zones),
            disk_gib=pool.disk.size_gib,
            catalogue=load_catalogue(),
        )
    ]


def clear(environment, applied):
    """Delete the stack and all its nodes, and wait until nothing of it is left."""
    client = environment.client
    for document in reversed(applied):
        client.delete(document)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        nodes = client.list("v1", "Node")
        environment.karpenter.remove(one["metadata"]["name"] for one in nodes)
        kinds = (("karpenter.sh/v1", "NodeClaim"), ("v1", "Pod"), ("apps/v1", "Deployment"))
        if not nodes and not any(client.list(version, kind) for version, kind in kinds):
            return
        time.sleep(0.2)
    raise AssertionError("nodes, claims or pods are still there")


@pytest.mark.parametrize("seed", SEEDS)
def test_karpenter_places_every_replica_of_a_random_stack_and_pays_what_is_planned(environment, seed):
    plan = plan_of(seed)
    applied = list(documents_of(plan))
    report = RehearsalReport(stack=f"random {seed}", scenario=None)
    try:
        environment.karpenter.add(floor_nodes(plan))
        for document in applied:
            environment.client.apply(document)
        for stage in STAGES:
            environment.check_stage(stage, plan, report)
    finally:
        clear(environment, applied)
    assert [f"{one.name}: {one.detail}" for one in report.checks if not one.passed] == []
