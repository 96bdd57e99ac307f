"""Custom resource definitions of the pinned modules, so that the API server validates and prunes our objects."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException

from rehearsal.control_plane.api import APPLY, reason, request
from rehearsal.errors import RehearsalFailed
from rehearsal.tools import Toolbox

FIELD_MANAGER = "tonnage-rehearsal"
_ROOT = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def install_crds(api: ApiClient, toolbox: Toolbox, *, timeout_s: float = 60) -> tuple[str, ...]:
    """Apply every pinned definition, wait until all are Established; return their names, sorted.

    Raises ``RehearsalFailed`` naming the definition that is refused or not Established within ``timeout_s``.
    """
    files = [file for files in toolbox.crd_dirs.values() for file in files]
    with ThreadPoolExecutor(4) as threads:
        names = sorted(threads.map(lambda file: _apply(api, file), files))
    _wait_established(api, names, timeout_s)
    return tuple(names)


def install_schemaless(api: ApiClient, group: str, version: str, kind: str, *, namespaced: bool = True) -> str:
    """Install a definition that accepts anything, for a kind without a pinned one; return its name."""
    plural = f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    document = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    _send(api, document)
    _wait_established(api, [f"{plural}.{group}"], 30)
    return f"{plural}.{group}"


def _apply(api: ApiClient, file: Path) -> str:
    document = _read(file)
    _send(api, document)
    return str(document["metadata"]["name"])


def _send(api: ApiClient, document: dict[str, Any]) -> None:
    """Apply one definition on the server's side."""
    document.pop("status", None)
    name = document["metadata"]["name"]
    query = {"fieldManager": FIELD_MANAGER, "force": "true"}
    try:
        request(api, "PATCH", f"{_ROOT}/{name}", body=document, query=query, content_type=APPLY)
    except ApiException as error:
        raise RehearsalFailed(f"definition {name}", f"refused by the API server: {reason(error)}") from error


def _wait_established(api: ApiClient, names: Iterable[str], timeout_s: float) -> None:
    waiting = set(names)
    deadline = time.monotonic() + timeout_s
    while waiting:
        waiting -= {name for name in sorted(waiting) if _established(api, name)}
        if waiting and time.monotonic() > deadline:
            raise RehearsalFailed(f"definition {min(waiting)}", "not Established", limit=f"{timeout_s:.0f} s")
        time.sleep(0.1 if waiting else 0)


def _established(api: ApiClient, name: str) -> bool:
    conditions = request(api, "GET", f"{_ROOT}/{name}").get("status", {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


def _read(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document
