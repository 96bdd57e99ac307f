"""Plays Karpenter and the EKS node groups: nodes appear for pods that are waiting, and go when their pool goes.

It honours what was applied to the API server, not what the plan says: a NodePool whose limit was cut buys less, and
the pods that then stay Pending are reported with the reason, pool by pool.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from rehearsal.control_plane.objects import Document, ObjectClient
from rehearsal.errors import RehearsalFailed
from rehearsal.simulated.nodes import NodeSpec, make_nodes, remove_nodes, zone_name
from rehearsal.simulated.pods import Room, admits, asked, is_active, name_of, node_of, room_of, unschedulable
from rehearsal.simulated.pools import CloudMarket, KarpenterPool, Purchase, choose, karpenter_pools
from sizing.nodes.labels import ZONE_ID_LABEL, ZONE_LABEL

POLL_S = 0.25
PATIENCE_S = 5.0
"""How long a pod may wait without any change before it counts as unschedulable; the scheduler retries every second."""
NOMINATED_PATIENCE_S = 20.0
"""The same for a pod whose node is there: on a loaded machine the scheduler may take seconds to see the node."""


class Provisioner:
    """A context manager with a thread that buys nodes. ``purchases`` are the nodes it bought that still exist."""

    def __init__(self, api: ApiClient, market: CloudMarket) -> None:
        self.market = market
        self._api = api
        self._client = ObjectClient(api)
        self._lock = threading.RLock()
        self._purchases: dict[str, Purchase] = {}
        self._reasons: dict[str, tuple[float, str]] = {}
        self._nominated: dict[str, str] = {}
        self._stopping = threading.Event()
        self._bought = 0
        self._last_change = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="provisioner", daemon=True)

    def __enter__(self) -> Provisioner:
        """Begin to buy."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; returns when no request is under way."""
        self._stopping.set()
        self._thread.join(timeout=10)

    @property
    def purchases(self) -> tuple[Purchase, ...]:
        """Nodes bought that still exist, sorted by name."""
        with self._lock:
            return tuple(self._purchases[name] for name in sorted(self._purchases))

    def unschedulable(self, namespace: str, name: str) -> str:
        """Return why a pod can never be placed, "" while it still may."""
        with self._lock:
            since, reason = self._reasons.get(f"{namespace}/{name}", (0.0, ""))
            waited = time.monotonic() - max(since, self._last_change)
            patience = NOMINATED_PATIENCE_S if f"{namespace}/{name}" in self._nominated else PATIENCE_S
        return reason if reason and waited > patience else ""

    def add(self, nodes: Sequence[NodeSpec]) -> None:
        """Add nodes that somebody else pays for: those of node groups."""
        if nodes:
            make_nodes(self._api, nodes)
            self._changed()

    def remove(self, names: Iterable[str]) -> None:
        """Take nodes away, and with them their pods."""
        gone = sorted(names)
        if gone:
            remove_nodes(self._api, gone)
        with self._lock:
            for name in gone:
                self._purchases.pop(name, None)
        self._changed()

    def restrict(self, market: CloudMarket) -> None:
        """Change what can be bought from now on, as a scenario does."""
        with self._lock:
            self.market = market
            self._reasons.clear()
        self._changed()

    def _changed(self) -> None:
        with self._lock:
            self._last_change = time.monotonic()

    def _work(self) -> None:
        while not self._stopping.wait(POLL_S):
            # the API server may be going away: the supervisor reports that, not this thread
            with contextlib.suppress(ApiException, HTTPError, RehearsalFailed):
                self._round()

    def _round(self) -> None:
        pools = self._pools()
        self._retire({pool.name for pool in pools})
        pods = [pod for pod in self._client.list("v1", "Pod") if is_active(pod)]
        waiting = [pod for pod in pods if not node_of(pod) and unschedulable(pod)]
        self._forget({name_of(pod) for pod in waiting})
        if not waiting:
            return
        nodes = self._client.list("v1", "Node")
        free = _free(nodes, [*pods])
        bought: list[NodeSpec] = []
        for pod in self._without_node(sorted(waiting, key=name_of), free):
            self._serve(pod, pools, nodes, free, bought)
        self.add(bought)

    def _without_node(self, waiting: Sequence[Document], free: dict[str, Room]) -> list[Document]:
        """Return the pods that need a node, and keep the room of those whose node only has to be seen.

        The scheduler knows nothing of what was bought for whom: it may give a pod's node to a pod that came later.
        The loser takes a node that was bought and is still free, else it needs another one, as with Karpenter.
        """
        with self._lock:
            nominated = [pod for pod in waiting if name_of(pod) in self._nominated]
            ousted = [pod for pod in nominated if not self._keeps(pod, self._nominated[name_of(pod)], free)]
            for pod in ousted:
                if not any(self._keeps(pod, one.node.name, free) for one in self.purchases if _admitted(one.node, pod)):
                    del self._nominated[name_of(pod)]
                    self._reasons.pop(name_of(pod), None)
        return [pod for pod in waiting if name_of(pod) not in self._nominated]

    def _keeps(self, pod: Document, node: str, free: dict[str, Room]) -> bool:
        """Nominate ``node`` for the pod when it is there and has room; its room is then taken."""
        left = free.get(node)
        if left is None or not left.holds(asked(pod)):
            return False
        free[node] = left.minus(asked(pod))
        self._nominated[name_of(pod)] = node
        # if the scheduler still refuses, its own words are the reason
        self._note(name_of(pod), f"node {node} was bought for it; scheduler: {unschedulable(pod)}")
        return True

    def _pools(self) -> tuple[KarpenterPool, ...]:
        try:
            node_pools = self._client.list("karpenter.sh/v1", "NodePool")
            node_classes = self._client.list("karpenter.k8s.aws/v1", "EC2NodeClass")
        except RehearsalFailed:
            return ()
        alive = [one for one in node_pools if not one["metadata"].get("deletionTimestamp")]
        return karpenter_pools(alive, node_classes)

    def _retire(self, known: set[str]) -> None:
        """A deleted NodePool takes its nodes with it."""
        orphans = [one.node.name for one in self.purchases if one.pool not in known]
        if orphans:
            self.remove(orphans)

    def _forget(self, waiting: set[str]) -> None:
        with self._lock:
            for name in set(self._reasons) - waiting:
                del self._reasons[name]
            for name in set(self._nominated) - waiting:
                del self._nominated[name]

    def _serve(
        self, pod: Document, pools: Sequence[KarpenterPool], nodes: Sequence[Document], free: dict[str, Room],
        bought: list[NodeSpec],
    ) -> None:  # fmt: skip
        """Share a node of this round, buy one, or note why that cannot be."""
        name, wanted = name_of(pod), asked(pod)
        if any(self._keeps(pod, node.name, free) for node in bought if _admitted(node, pod)):
            return
        purchase = choose(
            pod, pools, self._used_gpus(), _per_zone(nodes, bought), market=self.market, number=self._bought
        )
        if isinstance(purchase, str):
            self._note(name, f"{purchase}; scheduler: {unschedulable(pod)}")
            return
        self._bought += 1
        with self._lock:
            self._purchases[purchase.node.name] = purchase
            self._nominated[name] = purchase.node.name
        bought.append(purchase.node)
        free[purchase.node.name] = _room(purchase.node).minus(wanted)

    def _note(self, pod: str, reason: str) -> None:
        with self._lock:
            since, _ = self._reasons.get(pod, (time.monotonic(), ""))
            self._reasons[pod] = (since, reason)

    def _used_gpus(self) -> Counter[str]:
        used: Counter[str] = Counter()
        for one in self.purchases:
            used[one.pool] += one.node.gpus
        return used


def _room(node: NodeSpec) -> Room:
    return Room(cpu=node.cpu, memory_gib=node.memory_gib, ephemeral_gib=node.ephemeral_gib, gpus=node.gpus)


def _admitted(node: NodeSpec, pod: Document) -> bool:
    return admits(_labels_of(node), _taints_of(node), pod)


def _labels_of(node: NodeSpec) -> dict[str, str]:
    zones = {ZONE_LABEL: zone_name(node.zone), ZONE_ID_LABEL: node.zone}
    return {**zones, **node.labels}


def _taints_of(node: NodeSpec) -> list[Document]:
    return [{"key": one.key, "value": one.value, "effect": one.effect} for one in node.taints]


def _per_zone(nodes: Sequence[Document], bought: Sequence[NodeSpec]) -> Counter[str]:
    """GPU nodes by zone, those just bought included."""
    zones = Counter(one.zone for one in bought)
    for node in nodes:
        if room_of(node["status"].get("allocatable") or {}).gpus:
            zones[node["metadata"]["labels"].get(ZONE_ID_LABEL, "")] += 1
    return zones


def _free(nodes: Sequence[Document], pods: Sequence[Document]) -> dict[str, Room]:
    """What each node has left."""
    free = {one["metadata"]["name"]: room_of(one["status"].get("allocatable") or {}) for one in nodes}
    for pod in pods:
        if node_of(pod) in free:
            free[node_of(pod)] = free[node_of(pod)].minus(asked(pod))
    return free


def with_spot_closed(market: CloudMarket) -> CloudMarket:
    """Return the market without spot capacity."""
    return replace(market, spot_closed=True)


def with_zone_closed(market: CloudMarket, zone: str) -> CloudMarket:
    """Return the market without one zone."""
    return replace(market, closed_zones=market.closed_zones | {zone})
