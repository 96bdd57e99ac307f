"""The calls of one Qdrant node that snapshots need (Qdrant documentation, "Snapshots" and "Cluster status")."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT_S = 3600
"""A snapshot is made, or recovered, before the answer comes: the largest collections take long."""
BOUNDARY = "tonnage-snapshot"


class QdrantError(Exception):
    """A node refused, or does not answer; the text is one line."""


@dataclass(frozen=True)
class Node:
    """One node by its address ``http://host:port``."""

    address: str

    @property
    def name(self) -> str:
        """The first part of the host: the name of its pod."""
        return (urlsplit(self.address).hostname or "peer").partition(".")[0]

    def get(self, path: str) -> Any:
        """Return the result of a GET."""
        return self._result("GET", path)

    def collections(self) -> list[str]:
        """Return the names of all collections, sorted."""
        return sorted(one["name"] for one in self.get("/collections")["collections"])

    def post(self, path: str, document: object) -> Any:
        """Send a JSON document; return the result."""
        return self._result("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def points(self, collection: str) -> int:
        """Return how many points the collection has, in the whole cluster, counted exactly."""
        return int(self.post(f"/collections/{quote(collection, safe='')}/points/count", {"exact": True})["count"])

    def make_snapshot(self, collection: str) -> dict[str, Any]:
        """Make a snapshot of what this node holds; returns its name, size and SHA-256."""
        return dict(self._result("POST", f"{_snapshots(collection)}?wait=true"))

    def remove_snapshot(self, collection: str, name: str) -> None:
        """Remove the node's own copy."""
        self._result("DELETE", f"{_snapshots(collection)}/{quote(name)}?wait=true")

    @contextmanager
    def read_snapshot(self, collection: str, name: str) -> Iterator[http.client.HTTPResponse]:
        """Yield the snapshot as a stream."""
        with self._call("GET", f"{_snapshots(collection)}/{quote(name)}") as answer:
            yield answer

    def recover(self, collection: str, body: Iterable[bytes], size: int, sha256: str) -> None:
        """Replace what the node holds of the collection by the snapshot; other copies follow it.

        ``body`` has ``size`` bytes; the node checks them against ``sha256`` before it touches anything.
        """
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="snapshot"; filename="snapshot"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        tail = f"\r\n--{BOUNDARY}--\r\n".encode()
        asked = urlencode({"wait": "true", "priority": "snapshot", "checksum": sha256})
        headers = {
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        self._result("POST", f"{_snapshots(collection)}/upload?{asked}", _joined(head, body, tail), headers)

    def inactive_shards(self, collection: str) -> list[str]:
        """Return the shards of this node that do not serve, as ``shard state``; none outside a cluster."""
        if self.get("/cluster").get("status") != "enabled":
            return []
        held = self.get(f"/collections/{quote(collection, safe='')}/cluster")["local_shards"]
        return [f"{one['shard_id']} {one['state']}" for one in held if one["state"] != "Active"]

    def _result(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        with self._call(method, path, body, headers) as answer:
            return json.load(answer).get("result")

    @contextmanager
    def _call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=TIMEOUT_S)
        try:
            key = {"api-key": os.environ.get("QDRANT_API_KEY", "")}
            connection.request(method, path, body=body, headers={**key, **(headers or {})})
            answer = connection.getresponse()
            if answer.status >= 300:
                said = " ".join(answer.read(2000).decode(errors="replace").split())
                msg = f"{self.name}: {method} {path.partition('?')[0]} answers {answer.status}: {said}"
                raise QdrantError(msg)
            yield answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            msg = f"{self.name}: {method} {path.partition('?')[0]}: {error or type(error).__name__}"
            raise QdrantError(msg) from error
        finally:
            connection.close()


def _snapshots(collection: str) -> str:
    return f"/collections/{quote(collection, safe='')}/snapshots"


def _joined(head: bytes, body: Iterable[bytes], tail: bytes) -> Iterator[bytes]:
    yield head
    yield from body
    yield tail
