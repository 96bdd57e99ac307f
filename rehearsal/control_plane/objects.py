"""Kubernetes objects of any kind through the API server: apply, read, delete, and what the server dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

from rehearsal.control_plane.api import APPLY, request
from rehearsal.errors import RehearsalFailed

FIELD_MANAGER = "pulumi-kubernetes"
RETRIES, RETRY_S = 20, 0.25
NOT_RETURNED = frozenset({"stringData"})
"""Fields that the server accepts but never returns (a Secret's stringData becomes data)."""
OWNER_GROUPS = frozenset({"apps", "batch"})
"""API groups whose objects make pods."""
Document = dict[str, Any]
Documents = list[Document]
Pairs = list[tuple[str, str]]


class UnknownKind(RehearsalFailed):
    """The API server does not serve the kind."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the API server serves a kind."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of one object, or of the collection when ``name`` is empty."""
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.prefix}{scope}/{self.plural}" + (f"/{name}" if name else "")


class ObjectClient:
    """Reads and writes plain documents; may be shared by threads."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._known: dict[tuple[str, str], Endpoint] = {}
        self._lock = threading.Lock()

    def request(self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Document | None = None,
                content_type: str = "application/json") -> Document:  # fmt: skip
        """Send one request, return the JSON answer; raises ``ApiException``."""
        for attempt in range(RETRIES):
            try:
                return request(self._api, method, path, body=body, query=query, content_type=content_type)
            except ApiException as error:
                # 429: the storage of a definition that was just installed is not ready yet
                if error.status != 429 or attempt == RETRIES - 1:
                    raise
                time.sleep(RETRY_S)
        raise AssertionError

    def endpoint(self, api_version: str, kind: str) -> Endpoint:
        """Find where a kind is served; raises ``UnknownKind``."""
        with self._lock:
            found = self._known.get((api_version, kind))
        if found:
            return found
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            listed = self.request("GET", prefix)
        except ApiException as error:
            if error.status != 404:
                raise
            listed = {}
        with self._lock:
            for one in listed.get("resources", []):
                if "/" not in one["name"]:
                    known = Endpoint(prefix=prefix, plural=one["name"], namespaced=one["namespaced"])
                    self._known[api_version, one["kind"]] = known
            found = self._known.get((api_version, kind))
        if not found:
            raise UnknownKind(f"{api_version} {kind}", "is not served by the API server")
        return found

    def path_of(self, document: Mapping[str, Any]) -> str:
        """Return the path of the object that ``document`` describes."""
        metadata = document["metadata"]
        endpoint = self.endpoint(document["apiVersion"], document["kind"])
        return endpoint.path(metadata.get("namespace") or "default", metadata["name"])

    def apply(self, document: Document, *, dry_run: bool = False, force: bool = False) -> Document:
        """Server-side apply; without ``force`` another owner of a field is a conflict, not a silent loss."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Warn"}
        if dry_run:
            query["dryRun"] = "All"
        if force:
            query["force"] = "true"
        return self.request("PATCH", self.path_of(document), query=query, body=document, content_type=APPLY)

    def read(self, document: Mapping[str, Any]) -> Document | None:
        """Return the live object, None when there is none."""
        try:
            return self.request("GET", self.path_of(document))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def delete(self, document: Mapping[str, Any]) -> None:
        """Delete; an object that is already gone is no error.

        Workloads go in the foreground, after their pods. Other kinds own nothing here, and the foreground would only
        wait until the garbage collector has heard of a custom resource's kind.
        """
        owns_pods = str(document["apiVersion"]).split("/")[0] in OWNER_GROUPS
        policy = "Foreground" if owns_pods else "Background"
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        try:
            self.request("DELETE", self.path_of(document), body=options)
        except ApiException as error:
            if error.status != 404:
                raise

    def list(self, api_version: str, kind: str, *, selector: str = "", namespace: str = "") -> Documents:
        """Return all objects of a kind, in one namespace or in all."""
        endpoint = self.endpoint(api_version, kind)
        query = {"labelSelector": selector} if selector else {}
        items = self.request("GET", endpoint.path(namespace), query=query).get("items") or []
        return [{"apiVersion": api_version, "kind": kind, **item} for item in items]

    def kinds(self) -> Pairs:
        """Return (apiVersion, kind) of everything that can be listed, one version per group."""
        groups = self.request("GET", "/apis").get("groups") or []
        versions = ["v1", *(one["preferredVersion"]["groupVersion"] for one in groups)]
        found: Pairs = []
        for version in versions:
            prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
            listed = self.request("GET", prefix).get("resources") or []
            found += [(version, one["kind"]) for one in listed if "/" not in one["name"] and "list" in one["verbs"]]
        return sorted(set(found))

    def merge(self, document: Mapping[str, Any], patch: Document, *, subresource: str = "") -> Document:
        """Merge ``patch`` into a live object or its subresource."""
        path = self.path_of(document) + (f"/{subresource}" if subresource else "")
        return self.request("PATCH", path, body=patch, content_type="application/merge-patch+json")


def dropped_fields(sent: object, returned: object, path: str = "") -> list[str]:
    """Return the paths that were sent with a value and are not in the returned object (pruned by its schema)."""
    missing: list[str] = []
    if isinstance(sent, Mapping) and isinstance(returned, Mapping):
        for key, value in sent.items():
            if value in (None, "", [], {}, False, 0) or key in NOT_RETURNED:
                continue
            here = f"{path}.{key}" if path else str(key)
            missing += [here] if key not in returned else dropped_fields(value, returned[key], here)
    elif isinstance(sent, list) and isinstance(returned, list) and len(sent) == len(returned):
        for index, (mine, theirs) in enumerate(zip(sent, returned, strict=True)):
            missing += dropped_fields(mine, theirs, f"{path}[{index}]")
    return missing
