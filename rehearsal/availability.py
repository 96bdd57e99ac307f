"""Counts, from the API server's own order of events, how often a replica was missing while something was replaced."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import HTTPError

from rehearsal.checks import COMPONENT_LABEL, MODEL, NAME_LABEL

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from kubernetes.watch import Watch


class Availability:
    """Ready pods of each model, event by event; ``gaps`` counts how often one fewer than ``wanted`` was ready.

    Each gap lasts until a successor is ready: in the rehearsal moments, in reality what the plan says of a start.
    """

    def __init__(self, api: ApiClient | None, wanted: Mapping[str, int]) -> None:
        self._wanted = wanted
        self._ready: dict[str, set[str]] = {model: set() for model in wanted}
        self.gaps: Counter[str] = Counter()
        self.least = dict(wanted)
        self._complete = threading.Event()
        self._api = api
        self._watch: Watch | None = None
        self._thread = threading.Thread(target=self._follow, name="availability", daemon=True)

    def __enter__(self) -> Availability:
        """Begin; returns once every wanted replica was seen ready."""
        from kubernetes.watch import Watch

        self._watch = Watch()
        self._thread.start()
        self._complete.wait(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        """End; the thread leaves with the next event."""
        if self._watch is not None:
            self._watch.stop()

    def _follow(self) -> None:
        from kubernetes.client import CoreV1Api
        from kubernetes.client.exceptions import ApiException

        if self._watch is None:
            return
        pods = CoreV1Api(self._api).list_pod_for_all_namespaces
        selector = f"{COMPONENT_LABEL}={MODEL}"
        # the API server goes away at the end of the rehearsal
        with contextlib.suppress(ApiException, HTTPError):
            for event in self._watch.stream(pods, label_selector=selector):
                self.take(event["type"], event["raw_object"])

    def take(self, kind: str, pod: Mapping[str, Any]) -> None:
        """Count one event: ``kind`` is ADDED, MODIFIED or DELETED."""
        model = pod["metadata"]["labels"].get(NAME_LABEL, "")
        if model not in self._ready:
            return
        ready, before = self._ready[model], len(self._ready[model])
        (ready.add if kind != "DELETED" and _serves(pod) else ready.discard)(pod["metadata"]["uid"])
        if self._complete.is_set():
            self.gaps[model] += len(ready) < min(before, self._wanted[model])
            self.least[model] = min(self.least[model], len(ready))
        elif all(len(self._ready[one]) >= count for one, count in self._wanted.items()):
            self._complete.set()


def _serves(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")
