"""Plays the volume driver: a claim gets a volume in the zone of the node that the scheduler chose.

Like the EBS driver it honours ``WaitForFirstConsumer`` and pins the volume to its zone, so that a pod with a volume
cannot come back in another zone; a claim that asks for more gets a larger volume under the running pod. Released
volumes are deleted. Binding itself is the controller manager's, and whether a claim may grow the API server's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from rehearsal.control_plane.api import request
from rehearsal.simulated.pods import number
from sizing.nodes.labels import ZONE_LABEL

_SELECTED = "volume.kubernetes.io/selected-node"
_POLL_S = 0.3
_VOLUMES = "/api/v1/persistentvolumes"


class VolumeProvisioner:
    """A thread that provisions and deletes volumes of every storage class until stopped."""

    def __init__(self, api: ApiClient) -> None:
        """``api``: an admin client; it may be shared."""
        self._api = api
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="volumes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when no request is under way."""
        self._stopping.set()
        self._thread.join(timeout=3)

    def _work(self) -> None:
        while not self._stopping.wait(_POLL_S):
            # the API server may be going away: the supervisor reports that, not this thread
            with contextlib.suppress(ApiException, HTTPError):
                claims = self._list("/api/v1/persistentvolumeclaims")
                self._provision(claims)
                self._grow(claims)
                self._reclaim()

    def _list(self, path: str) -> list[dict[str, Any]]:
        return list(request(self._api, "GET", path, timeout_s=5)["items"])

    def _provision(self, claims: Sequence[dict[str, Any]]) -> None:
        pending = [claim for claim in claims if not claim["spec"].get("volumeName") and not _leaving(claim)]
        if not pending:
            return
        classes = {found["metadata"]["name"]: found for found in self._list("/apis/storage.k8s.io/v1/storageclasses")}
        for claim in pending:
            storage = classes.get(claim["spec"].get("storageClassName", ""))
            node = claim["metadata"].get("annotations", {}).get(_SELECTED)
            if storage and (node or storage["volumeBindingMode"] != "WaitForFirstConsumer"):
                self._create(volume_for(claim, storage, self._zone(node) if node else None))

    def _zone(self, node: str) -> str | None:
        labels = request(self._api, "GET", f"/api/v1/nodes/{node}")["metadata"].get("labels", {})
        return str(labels[ZONE_LABEL]) if ZONE_LABEL in labels else None

    def _create(self, volume: dict[str, Any]) -> None:
        try:
            request(self._api, "POST", _VOLUMES, body=volume)
        except ApiException as error:
            if error.status != 409:  # provisioned in the round before, not bound yet
                raise

    def _grow(self, claims: Sequence[dict[str, Any]]) -> None:
        """Enlarge the volume first, as the resizer of the driver does, then say so in the claim's status."""
        for claim in claims:
            had, wanted = claim.get("status", {}).get("capacity", {}), claim["spec"]["resources"]["requests"]
            if had and number(wanted["storage"]) > number(had["storage"]):
                size, metadata = {"storage": wanted["storage"]}, claim["metadata"]
                of_claim = (
                    f"/api/v1/namespaces/{metadata['namespace']}/persistentvolumeclaims/{metadata['name']}/status"
                )
                self._merge(f"{_VOLUMES}/{claim['spec']['volumeName']}", {"spec": {"capacity": size}})
                self._merge(of_claim, {"status": {"capacity": size}})

    def _merge(self, path: str, patch: dict[str, Any]) -> None:
        request(self._api, "PATCH", path, body=patch, content_type="application/merge-patch+json")

    def _reclaim(self) -> None:
        for volume in self._list(_VOLUMES):
            released = volume.get("status", {}).get("phase") == "Released"
            if released and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete" and not _leaving(volume):
                request(self._api, "DELETE", f"{_VOLUMES}/{volume['metadata']['name']}")


def volume_for(claim: dict[str, Any], storage: dict[str, Any], zone: str | None) -> dict[str, Any]:
    """Return the volume that satisfies ``claim`` of class ``storage``, bound to ``zone`` when that is known."""
    metadata, wanted = claim["metadata"], claim["spec"]
    name = f"pvc-{metadata['uid']}"
    spec = {
        "accessModes": wanted["accessModes"],
        "capacity": {"storage": wanted["resources"]["requests"]["storage"]},
        "persistentVolumeReclaimPolicy": storage.get("reclaimPolicy", "Delete"),
        "storageClassName": wanted["storageClassName"],
        "volumeMode": wanted.get("volumeMode", "Filesystem"),
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            **{key: metadata[key] for key in ("name", "namespace", "uid")},
        },
        "csi": {"driver": storage["provisioner"], "volumeHandle": name},
    }
    if zone:
        match = {"key": ZONE_LABEL, "operator": "In", "values": [zone]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}}
    annotations = {"pv.kubernetes.io/provisioned-by": storage["provisioner"]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": annotations},
        "spec": spec,
    }


def _leaving(document: dict[str, Any]) -> bool:
    return "deletionTimestamp" in document["metadata"]
