"""The snapshot job: every collection of every peer goes to the bucket and leaves no copy behind."""

import http.server
import threading

import pytest

from runtime.tools.snapshot import snapshot
from tests.runtime.hubs import Bucket


class Qdrant(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        listing = self.path == "/collections"
        self._send(b'{"result": {"collections": [{"name": "docs"}]}}' if listing else b"snapshot")

    def do_POST(self):
        self.server.posted.append(("POST", self.path, self.headers["api-key"]))
        self._send(b'{"result": {"name": "docs-1.snapshot"}}')

    def do_DELETE(self):
        self.server.posted.append(("DELETE", self.path, self.headers["api-key"]))
        self._send(b'{"result": true}')

    def _send(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def peer():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Qdrant)
    server.posted = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_every_collection_is_snapshotted_uploaded_and_removed_from_its_peer(peer, monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "k")
    bucket, address = Bucket(), f"http://127.0.0.1:{peer.server_port}"
    keys = list(snapshot(bucket, peers=[address], bucket="b", prefix="snapshots/qdrant"))
    assert keys == ["snapshots/qdrant/docs/127/docs-1.snapshot"]
    assert bucket.objects == {keys[0]: b"snapshot"}
    assert peer.posted == [
        ("POST", "/collections/docs/snapshots", "k"),
        ("DELETE", "/collections/docs/snapshots/docs-1.snapshot", "k"),
    ]
