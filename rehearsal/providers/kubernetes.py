"""Kubernetes stand-in: every object goes to the API server of the rehearsal, whatever kubeconfig the program passes.

Objects are applied server-side and awaited; deletion waits until they are gone; a preview is a server-side dry run.
Fields that a schema prunes are kept in ``findings``. A Helm Release is recorded, not rendered: fetching a chart would
need the network, and the rehearsal talks to loopback only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from google.protobuf import empty_pb2
from kubernetes.client.exceptions import ApiException
from pulumi.runtime.proto import provider_pb2
from urllib3.exceptions import HTTPError

from rehearsal.control_plane.api import reason
from rehearsal.control_plane.objects import Document, ObjectClient, UnknownKind, dropped_fields
from rehearsal.errors import RehearsalFailed
from rehearsal.providers.base import Refused, StandIn, StaysPending, refuse, suffix, urn_parts
from rehearsal.providers.wire import changed_keys, from_struct, has_unknown, to_struct
from rehearsal.simulated.pods import asked, name_of
from rehearsal.simulated.readiness import pod_selector, waiting_for

RELEASE = "kubernetes:helm.sh/v3:Release"
PATCH_FORCE = "pulumi.com/patchForce"
"""Annotation with which a patch takes a field from another owner (provider, ``metadata.AnnotationPatchForce``)."""
IMMUTABLE = {
    "": ("apiVersion", "kind", "metadata.name", "metadata.namespace"),
    "ConfigMap": ("data", "binaryData", "immutable"),
    "Secret": ("data", "stringData", "type", "immutable"),
    "Job": ("spec.template", "spec.selector", "spec.completionMode"),
    "Deployment": ("spec.selector",),
    "StatefulSet": ("spec.selector", "spec.serviceName", "spec.volumeClaimTemplates", "spec.podManagementPolicy"),
    "DaemonSet": ("spec.selector",),
    "StorageClass": ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName"),
}
"""Fields that the API server or the official provider (``provider/pkg/provider/diff.go``) replaces the object for."""
POLL_S = 0.1

UnschedulableReason = Callable[[str, str], str]
"""(namespace, pod name) -> why the pod can never be placed, "" while it still may."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What happened to an object at the API server: ``kind`` is ``dropped``, ``refused`` or ``pending``."""

    kind: str
    object: str
    detail: str


class KubernetesStandIn(StandIn):
    """Applies, awaits and deletes. ``unschedulable`` says why a pod can never be placed."""

    name = "kubernetes"
    version = "4.34.0"

    def __init__(
        self, client: ObjectClient, *, unschedulable: UnschedulableReason | None = None,
        before_apply: Callable[[Document], None] | None = None, timeout_s: float = 60, delete_timeout_s: float = 60,
    ) -> None:  # fmt: skip
        self._client = client
        self._before_apply = before_apply
        self._unschedulable = unschedulable
        self._timeout_s = timeout_s
        self._delete_timeout_s = delete_timeout_s
        self._lock = threading.Lock()
        self._findings: set[Finding] = set()
        self._releases: dict[str, Mapping[str, Any]] = {}
        self._objects: dict[str, Document] = {}
        self.stopped = threading.Event()
        self.kinds: set[tuple[str, str]] = set()
        """(apiVersion, kind) of everything that was ever applied."""
        self.side_effects: set[str] = set()
        """Objects that a chart makes besides its own and leaves behind: ``Namespace name``."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the server dropped or refused so far, sorted."""
        with self._lock:
            return tuple(sorted(self._findings, key=lambda one: (one.kind, one.object, one.detail)))

    @property
    def releases(self) -> tuple[Mapping[str, Any], ...]:
        """Helm releases that exist now (their inputs), sorted by id."""
        with self._lock:
            return tuple(self._releases[key] for key in sorted(self._releases))

    @property
    def objects(self) -> tuple[Document, ...]:
        """Objects that the engine made and has not deleted, as they were sent, sorted by URN."""
        with self._lock:
            return tuple(self._objects[key] for key in sorted(self._objects))

    def Check(self, request, context):  # noqa: N802
        """Fill in what the official provider fills in: the object's name, apiVersion and kind."""
        news, olds = from_struct(request.news), from_struct(request.olds)
        token, name = urn_parts(request.urn)
        if token == RELEASE:
            news.setdefault("name", f"{name}-{suffix(request.urn)}")
        else:
            metadata = dict(news.get("metadata") or {})
            if not metadata.get("name"):
                before = (olds.get("metadata") or {}).get("name")
                metadata["name"] = before or f"{name}-{suffix(request.urn + repr(sorted(olds)))}"
            news["metadata"] = metadata
        return provider_pb2.CheckResponse(inputs=to_struct(news))

    def Diff(self, request, context):  # noqa: N802
        """Compare inputs; a changed immutable field replaces, deleting the old object first if the name stays."""
        old, new = from_struct(request.old_inputs), from_struct(request.news)
        paths = changed_keys(old, new)
        immutable = (*IMMUTABLE[""], *IMMUTABLE.get(str(new.get("kind")), ()))
        if urn_parts(request.urn)[0] == RELEASE:
            immutable = ("name", "namespace")
        elif is_patch(request.urn):
            immutable = ("metadata.name", "metadata.namespace")
        replaces = [path for path in paths if any(path == one or path.startswith(one + ".") for one in immutable)]
        same_name = (old.get("metadata") or {}).get("name") == (new.get("metadata") or {}).get("name")
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if paths else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=sorted({path.partition(".")[0] for path in paths}),
            replaces=sorted({path.partition(".")[0] for path in replaces}),
            deleteBeforeReplace=bool(replaces) and same_name,
        )

    def Create(self, request, context):  # noqa: N802
        """Apply the object and wait until it is ready; an object that exists already is an error."""
        inputs = from_struct(request.properties)
        try:
            if urn_parts(request.urn)[0] == RELEASE:
                outputs = self._release(inputs, preview=request.preview)
                identity = f"{inputs.get('namespace', 'default')}/{inputs['name']}"
            else:
                outputs = self._apply(request.urn, inputs, preview=request.preview, creating=True)
                identity = _identity(outputs)
        except (Refused, RehearsalFailed, ApiException, HTTPError) as error:
            return refuse(context, self._refusal(request.urn, inputs, error))
        return provider_pb2.CreateResponse(id="" if request.preview else identity, properties=to_struct(outputs))

    def Update(self, request, context):  # noqa: N802
        """Apply the changed object and wait until it is ready again."""
        inputs = from_struct(request.news)
        try:
            if urn_parts(request.urn)[0] == RELEASE:
                outputs = self._release(inputs, preview=request.preview)
            else:
                kept = self._as_live(inputs, request.ignoreChanges)
                outputs = self._apply(request.urn, kept, preview=request.preview, creating=False)
        except (Refused, RehearsalFailed, ApiException, HTTPError) as error:
            return refuse(context, self._refusal(request.urn, inputs, error))
        return provider_pb2.UpdateResponse(properties=to_struct(outputs))

    def Read(self, request, context):  # noqa: N802
        """Return the live object, nothing when it is gone."""
        inputs = from_struct(request.inputs)
        if urn_parts(request.urn)[0] == RELEASE:
            return provider_pb2.ReadResponse(id=request.id, properties=request.properties, inputs=request.inputs)
        live = self._client.read(_document(inputs))
        if live is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(id=request.id, properties=to_struct(live), inputs=request.inputs)

    def Delete(self, request, context):  # noqa: N802
        """Delete the object and wait until the API server no longer has it."""
        properties = from_struct(request.properties)
        token, _ = urn_parts(request.urn)
        if token == RELEASE:
            with self._lock:
                self._releases.pop(request.id, None)
            return empty_pb2.Empty()
        document = _document(properties)
        if is_patch(request.urn):
            return empty_pb2.Empty()  # the fields stay as they are: somebody else owns the object
        try:
            self._client.delete(document)
            self._wait_gone(document)
        except (Refused, ApiException, HTTPError) as error:
            return refuse(context, self._refusal(request.urn, properties, error))
        with self._lock:
            self._objects.pop(request.urn, None)
        return empty_pb2.Empty()

    def _release(self, inputs: Document, *, preview: bool) -> Document:
        """Record a Helm release and create its namespace, which other objects of the stack need."""
        namespace, name = str(inputs.get("namespace", "default")), str(inputs["name"])
        if not preview:
            with self._lock:
                self._releases[f"{namespace}/{name}"] = inputs
            if inputs.get("createNamespace"):
                self._client.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
                self.side_effects.add(f"Namespace {namespace}")
        return {**inputs, "resourceNames": {}, "status": {"name": name, "namespace": namespace, "status": "deployed"}}

    def _as_live(self, inputs: Document, ignored: Sequence[str]) -> Document:
        """Return the inputs with ignored fields as the cluster has them, as the provider sends them.

        Another owner has changed them (the autoscaler ``spec.replicas``): any other value would be a conflict.
        """
        live = self._client.read(_document(inputs)) if ignored else None
        kept = deepcopy(inputs)
        for path in ignored if live else ():
            *parents, field = path.split(".")
            there, here = live, kept
            for parent in parents:
                there, here = (there or {}).get(parent), here.setdefault(parent, {})
            if there and field in there:
                here[field] = there[field]
        return kept

    def _apply(self, urn: str, inputs: Document, *, preview: bool, creating: bool) -> Document:
        if has_unknown(inputs):
            return inputs
        document = _document(inputs)
        if self._before_apply and not preview:
            self._before_apply(document)
        patch = is_patch(urn)
        try:
            there = self._client.read(document) is not None if creating else True
            if patch and not there:
                if preview:
                    return inputs
                raise Refused(f"{_called(document)} is not there to be patched")
            if creating and there and not patch:
                raise Refused(f"{_called(document)} already exists")
            live = self._client.apply(document, dry_run=preview, force=patch and _forced(document))
        except UnknownKind:
            if preview:
                return inputs
            raise
        except ApiException as error:
            # a dry run cannot see the namespace that the same run is going to make
            if preview and error.status == 404:
                return inputs
            raise
        for path in dropped_fields(document, live):
            self._note("dropped", document, path)
        if preview or patch:
            return live
        with self._lock:
            self._objects[urn] = document
            self.kinds.add((document["apiVersion"], document["kind"]))
        return self._wait_ready(document)

    def _wait_ready(self, document: Document) -> Document:
        """Poll until ready; stop early when the engine is gone or a pod of the object can never be placed."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            live = self._client.read(document)
            if live is None:
                raise Refused(f"{_called(document)} disappeared while it was awaited")
            missing = waiting_for(live)
            if not missing:
                return live
            self._raise_if_unschedulable(live)
            if time.monotonic() > deadline:
                raise Refused(f"{_called(document)} is not ready: {missing}; limit: {self._timeout_s:.0f} s")
            self._pause(document)

    def _raise_if_unschedulable(self, live: Document) -> None:
        selector = pod_selector(live)
        if not selector or self._unschedulable is None:
            return
        for pod in self._client.list("v1", "Pod", selector=selector, namespace=live["metadata"]["namespace"]):
            reason = self._unschedulable(pod["metadata"]["namespace"], pod["metadata"]["name"])
            if reason:
                raise StaysPending(f"pod {name_of(pod)} stays Pending: asks for {asked(pod).text()}; {reason}")

    def _wait_gone(self, document: Document) -> None:
        deadline = time.monotonic() + self._delete_timeout_s
        while self._client.read(document) is not None:
            if time.monotonic() > deadline:
                raise Refused(f"{_called(document)} is still there; limit: {self._delete_timeout_s:.0f} s")
            self._pause(document)

    def _pause(self, document: Document) -> None:
        if self.stopped.wait(POLL_S):
            raise Refused(f"{_called(document)} is no longer awaited: the rehearsal is ending")

    def _note(self, kind: str, document: Document, detail: str) -> None:
        with self._lock:
            self._findings.add(Finding(kind=kind, object=_called(document), detail=detail))

    def _refusal(self, urn: str, inputs: Document, error: Exception) -> str:
        said = reason(error) if isinstance(error, ApiException) else str(error)
        called = _called(inputs) if inputs.get("kind") else urn_parts(urn)[1]
        kind = "pending" if isinstance(error, StaysPending) else "refused"
        with self._lock:
            self._findings.add(Finding(kind=kind, object=called, detail=said))
        return f"{called}: {said}"


def is_patch(urn: str) -> bool:
    """Whether the resource sets fields of an object that somebody else owns: ``PersistentVolumeClaimPatch``."""
    return urn_parts(urn)[0].endswith("Patch")


def _forced(document: Mapping[str, Any]) -> bool:
    return ((document.get("metadata") or {}).get("annotations") or {}).get(PATCH_FORCE) == "true"


def _document(properties: Mapping[str, Any]) -> Document:
    """Return the document to send: the inputs without what the engine or the server added."""
    return {key: value for key, value in properties.items() if key not in {"status", "id"} and value is not None}


def _called(document: Mapping[str, Any]) -> str:
    metadata = document.get("metadata") or {}
    return f"{document.get('kind')} {metadata.get('namespace', '')}/{metadata.get('name')}".replace(" /", " ")


def _identity(live: Document) -> str:
    metadata = live.get("metadata") or {}
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata.get('name')}" if namespace else str(metadata.get("name"))
