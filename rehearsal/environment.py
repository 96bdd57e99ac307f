"""Everything that is live during a rehearsal: API server, recorded AWS resources, nodes; and the checks of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from policies.registry import ALL_RULES
from rehearsal import checks
from rehearsal.control_plane.crds import install_schemaless
from rehearsal.control_plane.objects import Document, ObjectClient, UnknownKind
from rehearsal.control_plane.processes import ControlPlane
from rehearsal.engine import Engine, Run
from rehearsal.errors import RehearsalFailed
from rehearsal.karpenter.controller import Karpenter
from rehearsal.providers.aws import AwsStandIn, Recorded
from rehearsal.providers.kubernetes import KubernetesStandIn
from rehearsal.report import Check, Placement, RehearsalReport, RuleVerdict
from rehearsal.scenarios import NOTICE_S, Disruption, places_left, scenario_named, sharing
from rehearsal.simulated.node_groups import DEFAULT_DISK_GIB, group_nodes
from rehearsal.simulated.pods import is_active, name_of, node_of
from sizing.nodes.labels import GPU_RESOURCE
from sizing.plan import ServingPlan, StackPlan

if TYPE_CHECKING:
    from rehearsal.clock import Clock

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
SUBNET = "aws:ec2/subnet:Subnet"
LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
BUDGET = "aws:budgets/budget:Budget"
STAGES = ("floor", "expected", "ceiling")
SETTLE_S = 45.0
POLL_S = 0.2
OWNED_BY_CLUSTER = frozenset(
    {"APIService", "CSINode", "ComponentStatus", "ControllerRevision", "EndpointSlice", "Endpoints", "Event",
     "FlowSchema", "Lease", "PriorityLevelConfiguration", "ServiceCIDR", "IPAddress", "StorageVersion"}
)  # fmt: skip
"""Kinds that the control plane itself makes and removes in its own time."""


@dataclass(kw_only=True)
class Environment:
    """What is up; ``aws``, ``kubernetes`` and ``engine`` are set once they have started."""

    plane: ControlPlane
    client: ObjectClient
    karpenter: Karpenter
    built_in: Sequence[tuple[str, str]]
    """(apiVersion, kind) that the API server serves without custom resource definitions."""
    aws: AwsStandIn = field(init=False)
    kubernetes: KubernetesStandIn = field(init=False)
    engine: Engine = field(init=False)
    baseline: frozenset[str] = frozenset()
    _groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _schemaless: set[str] = field(default_factory=set)

    # nodes of recorded node groups

    def cloud_created(self, resource: Recorded) -> None:
        """Create the nodes of a new node group, as EKS does."""
        if resource.type != NODE_GROUP:
            return
        nodes = group_nodes(
            resource.name,
            resource.inputs,
            zones=self._zones(resource.inputs),
            disk_gib=self._disk_gib(resource.inputs),
            catalogue=self.karpenter.market.catalogue,
        )
        self._groups[resource.urn] = tuple(node.name for node in nodes)
        self.karpenter.add(nodes)

    def cloud_deleted(self, resource: Recorded) -> None:
        """Delete the nodes of a deleted node group."""
        self.karpenter.remove(self._groups.pop(resource.urn, ()))

    def _zones(self, inputs: Mapping[str, Any]) -> list[str]:
        known = {one.id: str(one.inputs.get("availabilityZoneId") or "") for one in self._recorded(SUBNET)}
        zones = sorted({known.get(subnet, "") for subnet in inputs.get("subnetIds") or []} - {""})
        if not zones:
            raise RehearsalFailed("node group", "its subnets are not among the recorded ones")
        return zones

    def _disk_gib(self, inputs: Mapping[str, Any]) -> float:
        wanted = (inputs.get("launchTemplate") or {}).get("id")
        for one in self._recorded(LAUNCH_TEMPLATE):
            if one.id == wanted:
                sizes = [
                    (part.get("ebs") or {}).get("volumeSize") or 0
                    for part in one.inputs.get("blockDeviceMappings") or []
                ]
                return float(max(sizes, default=DEFAULT_DISK_GIB))
        return float(inputs.get("diskSize") or DEFAULT_DISK_GIB)

    def _recorded(self, token: str) -> list[Recorded]:
        return [one for one in self.aws.resources if one.type == token]

    def cut(self, pool: str, limit: int) -> None:
        """Set the GPU limit of a live NodePool, as ``kubectl patch`` would."""
        node_pool = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": pool}}
        self.client.merge(node_pool, {"spec": {"limits": {GPU_RESOURCE: str(limit)}}})

    # kinds without a pinned definition

    def ensure_kind(self, document: Document) -> None:
        """Install a definition without schema for a kind that the API server does not serve."""
        api_version, kind = document["apiVersion"], document["kind"]
        try:
            self.client.endpoint(api_version, kind)
        except UnknownKind:
            group, _, version = api_version.rpartition("/")
            namespaced = bool((document.get("metadata") or {}).get("namespace"))
            install_schemaless(self.plane.api(), group, version, kind, namespaced=namespaced)
            self._schemaless.add(f"{api_version} {kind}")

    def not_validated(self) -> list[str]:
        """Return what the API server could not validate: kinds without a pinned definition, and Helm charts."""
        charts = [
            f"chart {one.get('chart')} ({one.get('namespace', 'default')}): not rendered"
            for one in self.kubernetes.releases
        ]
        return sorted([*(f"{one}: no pinned definition" for one in self._schemaless), *charts])

    # verdicts and findings

    def verdicts(self, stack: str, run: Run) -> list[RuleVerdict]:
        """Return the verdict of every rule that ran inside the engine; a pack that did not run passes nothing."""
        ran = "tonnage" in run.packs
        found = []
        for rule in ALL_RULES:
            said = [text for text in run.policies if text.startswith(f"{rule.name}:")]
            message = said[0] if said else "" if ran else "the policy pack did not run"
            found.append(RuleVerdict(stack=stack, rule=rule.name, passed=ran and not said, message=message))
        return found

    def unchanged(self, stack: str, run: Run) -> Check:
        """A second ``up`` changes nothing."""
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(run.changes.items()))
        return Check(name=f"second up {stack} changes nothing", passed=run.changed == 0, detail=told)

    def findings(self, kind: str) -> list[str]:
        """Return what the API server refused or dropped."""
        return [f"{one.object}: {one.detail}" for one in self.kubernetes.findings if one.kind == kind]

    def finding_checks(self) -> list[Check]:
        """Nothing was refused, no field was dropped."""
        found = []
        for kind, name in (("refused", "no object refused"), ("dropped", "no field dropped")):
            lines = self.findings(kind)
            found.append(Check(name=name, passed=not lines, detail="; ".join(lines[:3]) or "none"))
        return found

    # the plan

    def check_plan(self, plan: StackPlan, report: RehearsalReport, clock: Clock) -> None:
        """Compare what is up with the plan at the floor, then scale to the expected and the most traffic."""
        report.checks.append(checks.pods_as_planned(plan, self.client.list("apps/v1", "Deployment")))
        budgets = [{**one.inputs} for one in self._recorded(BUDGET)]
        report.checks.append(checks.budget_as_planned(plan, budgets))
        for stage in STAGES:
            with clock.stage(f"pods at the {stage}"):
                wanted = self.check_stage(stage, plan, report)
                clock.note(
                    f"pods at the {stage}", ", ".join(f"{name} x{count}" for name, count in sorted(wanted.items()))
                )
        bill, figures = checks.within_ceiling(plan, self.karpenter.purchases, self.client.list("v1", "Node"))
        report.checks.append(bill)
        report.usd_per_hour = figures

    def note_placements(self, stage: str, report: RehearsalReport) -> None:
        """Record where every pod is, for a rehearsal that ends early."""
        with contextlib.suppress(ApiException, HTTPError, RehearsalFailed):
            pods, nodes = self.client.list("v1", "Pod"), self.client.list("v1", "Node")
            report.placements += checks.placements(stage, pods, nodes, self._reasons(pods))

    def check_stage(self, stage: str, plan: StackPlan, report: RehearsalReport) -> Mapping[str, int]:
        """Scale to one of ``STAGES``, wait, compare with the plan; return the replicas by model."""
        wanted = {model.name: int(getattr(model.replicas, stage)) for model in plan.models}
        self._scale(wanted)
        self._settle(wanted)
        pods, nodes = self.client.list("v1", "Pod"), self.client.list("v1", "Node")
        found = checks.placements(stage, pods, nodes, self._reasons(pods))
        report.placements += found
        report.checks += [
            checks.nothing_pending(stage, found),
            checks.replicas_placed(stage, plan, found, wanted),
            checks.nodes_as_planned(stage, plan, self.karpenter.purchases, nodes),
            checks.dollars_as_planned(stage, plan, self.karpenter.purchases, nodes),
        ]
        return wanted

    def _reasons(self, pods: Sequence[Document]) -> dict[str, str]:
        return {
            name_of(pod): self.karpenter.unschedulable(pod["metadata"]["namespace"], pod["metadata"]["name"])
            for pod in pods
        }

    def _scale(self, wanted: Mapping[str, int]) -> None:
        """Set replicas as KEDA does: through the scale subresource of each model's Deployment."""
        for deployment in self.client.list("apps/v1", "Deployment"):
            count = wanted.get(deployment["metadata"]["name"])
            labels = deployment["spec"]["selector"].get("matchLabels") or {}
            if count is not None and labels.get(checks.COMPONENT_LABEL) == checks.MODEL:
                self.client.merge(deployment, {"spec": {"replicas": count}}, subresource="scale")

    def _settle(self, wanted: Mapping[str, int]) -> None:
        """Wait until every model has its pods, each ready or unschedulable, and no other pod may still be placed."""
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            pods = [pod for pod in self.client.list("v1", "Pod") if is_active(pod)]
            if all(self._model_settled(checks.pods_of(name, pods), count) for name, count in wanted.items()) and all(
                node_of(pod) or self._is_unschedulable(pod) for pod in pods
            ):
                return
            time.sleep(POLL_S)

    def _model_settled(self, pods: Sequence[Mapping[str, Any]], count: int) -> bool:
        return len(pods) == count and all(_is_ready(pod) or self._is_unschedulable(pod) for pod in pods)

    def _is_unschedulable(self, pod: Mapping[str, Any]) -> bool:
        return bool(self.karpenter.unschedulable(pod["metadata"]["namespace"], pod["metadata"]["name"]))

    # scenarios

    def at_planned_traffic(self, plan: StackPlan) -> dict[str, int]:
        """Scale every model to the replicas of the planned traffic, wait for them, return their number."""
        wanted = {model.name: int(model.replicas.expected or model.replicas.ceiling) for model in plan.models}
        self._scale(wanted)
        self._settle(wanted)
        return wanted

    def play(self, name: str, plan: StackPlan, report: RehearsalReport, clock: Clock) -> None:
        """Disrupt at the planned traffic, wait, and compare what still runs with what the plan's pools allow."""
        wanted = self.at_planned_traffic(plan)
        market = self.karpenter.market
        disruption = scenario_named(name)(self.client.list("v1", "Node"), market)
        self.karpenter.restrict(disruption.market)
        self._evict(disruption)
        self._settle(wanted)
        clock.note(f"scenario {name}", disruption.what)
        pods, nodes = self.client.list("v1", "Pod"), self.client.list("v1", "Node")
        found = checks.placements(name, pods, nodes, self._reasons(pods))
        report.placements += found
        for models in sharing(plan):
            left = places_left(plan, models, wanted, disruption, market)
            report.checks.append(_runs_on(name, models, wanted, found, left))
            if name == "spot-reclaim":
                report.checks += [_drains_in_time(model.name, model.drain.grace_period_s) for model in models]

    def _evict(self, disruption: Disruption) -> None:
        """Cordon the nodes, then remove them with their pods."""
        for node in disruption.nodes:
            document = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}
            self.client.merge(document, {"spec": {"unschedulable": True}})
        self.karpenter.remove(disruption.nodes)

    # what is left

    def everything(self) -> frozenset[str]:
        """Return every object of the API server that it did not make itself, as ``kind namespace/name``."""
        found: set[str] = set()
        for api_version, kind in sorted({*self.built_in, *self.kubernetes.kinds}):
            if kind not in OWNED_BY_CLUSTER:
                found |= {f"{kind} {name_of(one)}" for one in self.client.list(api_version, kind)}
        return frozenset(found)

    def leftovers(self, timeout_s: float = 20.0) -> list[str]:
        """Return what is left after ``destroy``: objects, nodes, recorded AWS resources, Helm releases."""
        self.wait_for(lambda: not self._objects_left(), timeout_s)
        cloud = [f"AWS {one.type} {one.name}" for one in self.aws.resources]
        releases = [f"Helm release {one.get('name')}" for one in self.kubernetes.releases]
        return sorted([*self._objects_left(), *cloud, *releases])

    def kept(self) -> list[str]:
        """Return the volumes that outlive the stack on purpose: their reclaim policy is Retain."""
        volumes = self.client.list("v1", "PersistentVolume")
        retained = [one for one in volumes if one["spec"].get("persistentVolumeReclaimPolicy") == "Retain"]
        return sorted(f"PersistentVolume {one['metadata']['name']}" for one in retained)

    def _objects_left(self) -> list[str]:
        made_here = {f"CustomResourceDefinition {one}" for one in self.kubernetes.side_effects}
        return sorted(
            one
            for one in self.everything() - self.baseline - made_here - set(self.kept())
            if not one.startswith("CustomResourceDefinition ") and one not in self.kubernetes.side_effects
            and not self._in_side_effect(one)
        )  # fmt: skip

    def _in_side_effect(self, called: str) -> bool:
        """Whether the object is in a namespace that a chart created, which Helm leaves and the cluster removes."""
        namespaces = {one.removeprefix("Namespace ") for one in self.kubernetes.side_effects}
        inside = called.partition(" ")[2].partition("/")
        return (
            bool(inside[1])
            and inside[0] in namespaces
            and called.split(" ", maxsplit=1)[0] in {"ConfigMap", "ServiceAccount"}
        )

    @staticmethod
    def wait_for(done: Callable[[], bool], timeout_s: float = SETTLE_S) -> None:
        """Return once ``done``, or when the time is over."""
        deadline = time.monotonic() + timeout_s
        while not done() and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _runs_on(
    scenario: str,
    models: Sequence[ServingPlan],
    wanted: Mapping[str, int],
    found: Sequence[Placement],
    planned: tuple[int, int],
) -> Check:
    """As many replicas run as the plan's pools still hold; models on the same pools are counted together."""
    names = [model.name for model in models]
    asked, placed = sum(wanted[name] for name in names), sum(1 for one in found if one.model in names and one.node)
    told = f"{planned[0]}" if planned[0] == planned[1] else f"{planned[0]} to {planned[1]}"
    return Check(
        name=f"{scenario}: {', '.join(names)}",
        passed=planned[0] <= placed <= planned[1],
        detail=f"{placed} of {asked} replicas run, {asked - placed} Pending; planned {told}",
    )


def _drains_in_time(model: str, grace_s: int) -> Check:
    return Check(
        name=f"spot-reclaim: {model} drains within the notice",
        passed=grace_s <= NOTICE_S,
        detail=f"{grace_s} s of {NOTICE_S} s",
    )
