"""Karpenter as a process, and what it bought: it reads the NodePools of the API server, never the plan.

Offers are read once, at its start. So a changed market is another start with other offers; what it knows of the
cluster is in the API server.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from rehearsal.control_plane.api import request
from rehearsal.control_plane.objects import Document, ObjectClient
from rehearsal.control_plane.processes import READY_TIMEOUT_S
from rehearsal.errors import RehearsalFailed
from rehearsal.karpenter import node_class
from rehearsal.karpenter.offers import CloudMarket, instance_types
from rehearsal.process import Child, Supervisor, free_port
from rehearsal.simulated.nodes import NodeSpec, make_nodes, remove_nodes
from rehearsal.simulated.pods import is_active, name_of, node_of, unschedulable

NAME = "karpenter"
NODE_POOL_LABEL = "karpenter.sh/nodepool"
PRICE_LABEL = "eks-node-viewer/instance-price"
CLAIM = ("karpenter.sh/v1", "NodeClaim")
POLL_S = 0.25
PATIENCE_S = 6.0
"""How long a pod that Karpenter refused may wait without any change: longer than a batch of pods and a launch."""
SETTINGS = {
    "DISABLE_LEADER_ELECTION": "true",
    "DISABLE_CLUSTER_STATE_OBSERVABILITY": "true",
    "FEATURE_GATES": "NodeRepair=true,SpotToSpotConsolidation=false,StaticCapacity=false",
    "SYSTEM_NAMESPACE": "kube-system",
}
"""As the chart of the stack sets it, for one replica (``components/cluster/karpenter_controller/documents.py``)."""


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """One node that Karpenter bought, and the price of its offer in USD per hour."""

    node: str
    pool: str
    usd_per_hour: float


class Karpenter:
    """A context manager: the process, and a thread that reads why pods wait."""

    def __init__(
        self, binary: Path, kubeconfig: Path, supervisor: Supervisor, api: ApiClient, market: CloudMarket
    ) -> None:
        """``api``: an admin client; it may be shared. Nothing is started before ``__enter__``."""
        self.market = market
        self._binary = binary
        self._kubeconfig = kubeconfig
        self._supervisor = supervisor
        self._api = api
        self._client = ObjectClient(api)
        self._lock = threading.RLock()
        self._reasons: dict[str, str] = {}
        self._changed_at = time.monotonic()
        self._seen: frozenset[str] = frozenset()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=NAME, daemon=True)
        self._child: Child | None = None

    def __enter__(self) -> Karpenter:
        """Install its node class and start it; raise ``RehearsalFailed`` when it does not get ready."""
        for document in node_class.documents():
            self._client.apply(document)
        self._start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; returns when no request is under way."""
        self._stopping.set()
        self._thread.join(timeout=10)
        self._stop()

    @property
    def purchases(self) -> tuple[Purchase, ...]:
        """Nodes bought that still exist, sorted by name."""
        nodes = self._client.list("v1", "Node", selector=NODE_POOL_LABEL)
        return tuple(sorted(map(purchase_of, nodes), key=lambda one: one.node))

    def unschedulable(self, namespace: str, name: str) -> str:
        """Return why a pod can never be placed, "" while it still may."""
        with self._lock:
            waited = time.monotonic() - self._changed_at
            return self._reasons.get(f"{namespace}/{name}", "") if waited > PATIENCE_S else ""

    def add(self, nodes: Sequence[NodeSpec]) -> None:
        """Add nodes that somebody else buys: those of node groups."""
        if nodes:
            make_nodes(self._api, nodes)
            self._changed()

    def remove(self, names: Iterable[str]) -> None:
        """Take machines away as AWS does: at once, whatever Karpenter would still do for them, with their pods."""
        gone = set(names)
        if not gone:
            return
        for claim in self._client.list(*CLAIM):
            if (claim.get("status") or {}).get("nodeName") in gone:
                self._end(claim)
        for node in self._client.list("v1", "Node", selector=NODE_POOL_LABEL):
            if node["metadata"]["name"] in gone:
                self._without_finalizers(node)
        remove_nodes(self._api, sorted(gone))
        self._changed()

    def restrict(self, market: CloudMarket) -> None:
        """Change what can be bought from now on, as a scenario does."""
        self.market = market
        self._stop()
        self._start()
        self._changed()

    def _start(self) -> None:
        folder = self._supervisor.run_dir / NAME
        folder.mkdir(mode=0o700, exist_ok=True)
        offers = folder / "instance-types.json"
        offers.write_text(json.dumps(instance_types(self.market)))
        health = free_port()
        env = {
            **os.environ,
            **SETTINGS,
            "HOME": str(folder),
            "KUBECONFIG": str(self._kubeconfig),
            "INSTANCE_TYPES_FILE_PATH": str(offers),
            "HEALTH_PROBE_PORT": str(health),
            "METRICS_PORT": str(free_port()),
        }
        self._child = self._supervisor.start(NAME, [self._binary], env=env)
        self._supervisor.wait_for(NAME, _answers(health), READY_TIMEOUT_S)

    def _stop(self) -> None:
        if self._child is not None:
            self._supervisor.forget(self._child)
            self._child = None

    def _end(self, claim: Document) -> None:
        """Delete a NodeClaim without the drain that its finalizer stands for: the machine is gone."""
        self._client.delete(claim)
        self._without_finalizers(claim)

    def _without_finalizers(self, document: Document) -> None:
        with contextlib.suppress(ApiException):
            self._client.merge(document, {"metadata": {"finalizers": None}})

    def _changed(self) -> None:
        with self._lock:
            self._changed_at = time.monotonic()

    def _work(self) -> None:
        while not self._stopping.wait(POLL_S):
            # the API server may be going away: the supervisor reports that, not this thread
            with contextlib.suppress(ApiException, HTTPError, RehearsalFailed):
                self._round()

    def _round(self) -> None:
        """Read which pods wait and what Karpenter says of them; a node or claim that comes or goes is a change."""
        waiting = [pod for pod in self._client.list("v1", "Pod") if is_active(pod) and not node_of(pod)]
        refused = self._refused() if waiting else {}
        claims = self._client.list(*CLAIM)
        seen = frozenset(f"{name_of(one)} {_is_initialized(one)}" for one in claims)
        seen |= {name_of(pod) for pod in waiting}
        with self._lock:
            if seen != self._seen:
                self._seen, self._changed_at = seen, time.monotonic()
            self._reasons = {
                name_of(pod): f"{refused[name_of(pod)]}; scheduler: {unschedulable(pod)}"
                for pod in waiting
                if name_of(pod) in refused and unschedulable(pod)
            }

    def _refused(self) -> dict[str, str]:
        """Return what Karpenter last said of each pod that it could not buy for."""
        query = {"fieldSelector": "reason=FailedScheduling"}
        events = request(self._api, "GET", "/api/v1/events", query=query)["items"]
        said: dict[str, str] = {}
        for event in sorted(filter(_of_karpenter, events), key=lambda one: one.get("lastTimestamp") or ""):
            pod = event["involvedObject"]
            said[f"{pod['namespace']}/{pod['name']}"] = in_short(event["message"])
        return said


def purchase_of(node: Document) -> Purchase:
    """Read what a node of Karpenter's kwok provider cost."""
    metadata = node["metadata"]
    labels = metadata["labels"]
    return Purchase(
        node=metadata["name"], pool=labels[NODE_POOL_LABEL], usd_per_hour=float(labels.get(PRICE_LABEL, "inf"))
    )


def in_short(message: str) -> str:
    """Return Karpenter's reason without its opening words."""
    return " ".join(message.removeprefix("Failed to schedule pod, ").split())


def _of_karpenter(event: Document) -> bool:
    source = (event.get("source") or {}).get("component") or event.get("reportingComponent")
    return source == NAME and event["involvedObject"].get("kind") == "Pod"


def _is_initialized(claim: Document) -> bool:
    conditions = (claim.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Initialized" and one["status"] == "True" for one in conditions)


def _answers(port: int) -> Callable[[], bool]:
    """Return a test whether Karpenter says that it is ready."""
    import urllib.request

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def answers() -> bool:
        with contextlib.suppress(OSError), direct.open(f"http://127.0.0.1:{port}/readyz", timeout=5) as response:
            return bool(response.status == 200)
        return False

    return answers
