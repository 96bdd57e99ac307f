"""Plays the volume driver: a claim gets a volume in the zone of the node that the scheduler chose.

Like the EBS driver it honours ``WaitForFirstConsumer`` and pins the volume to its zone, so that a pod with a volume
cannot come back in another zone. Released volumes are deleted. Binding itself is the controller manager's.
"""

from __future__ import annotations

import contextlib
import threading

from kubernetes.client import ApiClient, CoreV1Api, StorageV1Api, V1PersistentVolumeClaim
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

ZONE = "topology.kubernetes.io/zone"
_SELECTED = "volume.kubernetes.io/selected-node"
_POLL_S = 0.3


class VolumeProvisioner:
    """A thread that provisions and deletes volumes of every storage class until stopped."""

    def __init__(self, api: ApiClient) -> None:
        """``api``: a client of its own."""
        self._core = CoreV1Api(api)
        self._storage = StorageV1Api(api)
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
                self._provision()
                self._reclaim()

    def _provision(self) -> None:
        claims = self._core.list_persistent_volume_claim_for_all_namespaces(_request_timeout=5).items
        pending = [claim for claim in claims if not claim.spec.volume_name and not claim.metadata.deletion_timestamp]
        if not pending:
            return
        classes = {found.metadata.name: found for found in self._storage.list_storage_class(_request_timeout=5).items}
        for claim in pending:
            storage = classes.get(claim.spec.storage_class_name)
            node = (claim.metadata.annotations or {}).get(_SELECTED)
            if storage and (node or storage.volume_binding_mode != "WaitForFirstConsumer"):
                zone = self._core.read_node(node).metadata.labels.get(ZONE) if node else None
                self._create(volume_for(claim, storage.provisioner, storage.reclaim_policy, zone))

    def _create(self, volume: dict[str, object]) -> None:
        try:
            self._core.create_persistent_volume(volume)
        except ApiException as error:
            if error.status != 409:  # provisioned in the round before, not bound yet
                raise

    def _reclaim(self) -> None:
        for volume in self._core.list_persistent_volume(_request_timeout=5).items:
            released = volume.status.phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete"
            if released and not volume.metadata.deletion_timestamp:
                self._core.delete_persistent_volume(volume.metadata.name)


def volume_for(
    claim: V1PersistentVolumeClaim, driver: str, reclaim_policy: str | None, zone: str | None
) -> dict[str, object]:
    """Return the volume (a plain document) that satisfies ``claim``, in ``zone`` when that is known."""
    name = f"pvc-{claim.metadata.uid}"
    spec: dict[str, object] = {
        "accessModes": claim.spec.access_modes,
        "capacity": {"storage": claim.spec.resources.requests["storage"]},
        "persistentVolumeReclaimPolicy": reclaim_policy or "Delete",
        "storageClassName": claim.spec.storage_class_name,
        "volumeMode": claim.spec.volume_mode or "Filesystem",
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "name": claim.metadata.name,
            "namespace": claim.metadata.namespace,
            "uid": claim.metadata.uid,
        },
        "csi": {"driver": driver, "volumeHandle": name},
    }
    if zone:
        match = {"key": ZONE, "operator": "In", "values": [zone]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}}
    annotations = {"pv.kubernetes.io/provisioned-by": driver}
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}
