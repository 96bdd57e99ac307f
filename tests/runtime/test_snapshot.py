"""Snapshots of the vector store: one set of all nodes, verified, restored only when all of it is there.

The nodes are stand-ins that speak the documented endpoints of Qdrant; no real Qdrant ran here.
"""

import hashlib
import http.server
import json
import threading
from datetime import UTC, datetime

import pytest

from runtime.tools import restore as restoring
from runtime.tools.qdrant import QdrantError
from runtime.tools.restore import restore
from runtime.tools.snapshot import snapshot
from runtime.tools.store import Damaged, ModelPrefix
from tests.runtime.hubs import Bucket

NOW = datetime(2026, 11, 30, 2, 17, tzinfo=UTC)
SNAPSHOT = b"what one node holds" * 1000


class Qdrant(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answers = {
            "/collections": {"collections": [{"name": "docs"}]},
            "/aliases": {"aliases": [{"alias_name": "live", "collection_name": "docs"}]},
            "/cluster": {"status": "enabled"},
        }
        result = answers.get(self.path)
        if self.path == "/collections/docs/cluster":
            result = {"local_shards": [{"shard_id": 3, "state": self.server.states.pop(0)}]}
        self._send(SNAPSHOT if result is None else json.dumps({"result": result}).encode())

    def do_POST(self):
        path, _, asked = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.called.append(("POST", path, self.headers["api-key"]))
        result = {"count": self.server.points}
        if path.endswith("/snapshots"):
            made = {"name": "docs-1.snapshot", "size": len(SNAPSHOT), "checksum": self.server.checksum}
            result = made
        if path.endswith("/upload"):
            sent = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--tonnage-snapshot--\r\n")[0]
            assert f"priority=snapshot&checksum={hashlib.sha256(sent).hexdigest()}" in asked
            self.server.recovered.append(sent)
        if path == "/collections/aliases":
            self.server.aliases = json.loads(body)["actions"]
        self._send(json.dumps({"result": result}).encode())

    def do_DELETE(self):
        self.server.called.append(("DELETE", self.path.partition("?")[0], self.headers["api-key"]))
        self._send(b'{"result": true}')

    def _send(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "k")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Qdrant)
    server.called, server.recovered, server.aliases, server.points = [], [], [], 7
    server.states, server.checksum = ["Partial", "Active"], hashlib.sha256(SNAPSHOT).hexdigest()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def store():
    return ModelPrefix(client=Bucket(), bucket="b", prefix="snapshots/vectors", part_bytes=1000)


def peers(peer):
    return [f"http://127.0.0.1:{peer.server_port}"]


def taken(store, peer):
    return list(snapshot(store, peers=peers(peer), now=NOW))


def test_every_collection_is_snapshotted_verified_and_removed_from_its_node_and_the_set_named(store, peer):
    key, complete = taken(store, peer)
    assert key == "snapshots/vectors/docs/127/docs-1.snapshot"
    assert store.client.objects[key] == SNAPSHOT
    document = json.loads(store.client.objects[complete])
    assert (complete, document["nodes"]) == ("snapshots/vectors/sets/20261130T021700Z.json", ["127"])
    assert document["points"] == {"docs": [7, 7]}
    assert ("DELETE", "/collections/docs/snapshots/docs-1.snapshot", "k") in peer.called


def test_a_snapshot_with_other_bytes_than_stated_counts_for_nothing_and_leaves_no_copy(store, peer):
    peer.checksum = "0" * 64
    with pytest.raises(Damaged):
        taken(store, peer)
    assert store.client.objects == {}
    assert peer.called[-1][0] == "DELETE"


def test_a_set_is_restored_node_by_node_with_aliases_and_awaited(store, peer):
    taken(store, peer)
    waits = []
    lines = list(restore(store, peers=peers(peer), wanted="newest", pause=waits.append))
    assert peer.recovered == [SNAPSHOT]
    assert peer.aliases == [{"create_alias": {"alias_name": "live", "collection_name": "docs"}}]
    assert (waits, lines[-1]) == ([restoring.POLL_S], "docs: 7 points, every shard serves")


def test_nothing_is_changed_unless_all_of_the_set_is_there_and_the_nodes_are_its_own(store, peer):
    key, _ = taken(store, peer)
    two = [*peers(peer), f"http://localhost:{peer.server_port}"]
    with pytest.raises(QdrantError, match="the store has the nodes 127, localhost; limit: those of the set, 127"):
        list(restore(store, peers=two, wanted="newest"))
    store.client.objects[key] = SNAPSHOT[:-1]
    with pytest.raises(QdrantError, match="18999 bytes"):
        list(restore(store, peers=peers(peer), wanted="newest"))
    del store.client.objects[key]
    with pytest.raises(QdrantError, match="is not in the bucket any more"):
        list(restore(store, peers=peers(peer), wanted="newest"))
    with pytest.raises(QdrantError, match=r"set 2025: does not exist .* there are: 20261130T021700Z"):
        list(restore(store, peers=peers(peer), wanted="2025"))
    assert peer.recovered == []


def test_fewer_points_than_when_it_was_taken_are_told(store, peer):
    taken(store, peer)
    peer.points = 5
    with pytest.raises(QdrantError, match="docs: 5 points after the restore; limit: 7 to 7"):
        list(restore(store, peers=peers(peer), wanted="newest", pause=lambda _: None))


@pytest.mark.rehearsal  # boto3 and moto take a second to come up
def test_boto3_itself_stores_and_restores_a_snapshot_in_several_parts(peer, monkeypatch):
    import boto3
    from moto import mock_aws

    large = b"x" * (11 * 2**20)
    monkeypatch.setattr("tests.runtime.test_snapshot.SNAPSHOT", large)
    peer.checksum = hashlib.sha256(large).hexdigest()
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="snapshots")
        store = ModelPrefix(client=client, bucket="snapshots", prefix="snapshots/vectors", part_bytes=5 * 2**20)
        key, _ = taken(store, peer)
        assert client.head_object(Bucket="snapshots", Key=key, PartNumber=3)["PartsCount"] == 3
        list(restore(store, peers=peers(peer), wanted="newest", pause=lambda _: None))
    assert peer.recovered == [large]
