"""The ingest job: one commit of a model, verified byte by byte, complete or not there."""

import hashlib
import http.server
import io
import json
import threading

import pytest

from runtime.tools.ingest import MANIFEST, IngestError, ingest
from runtime.tools.snapshot import snapshot

REVISION = "0e9e39f249a16976918f6564b8830bc894c89659"
FILES = {"config.json": b'{"model_type": "llama"}', "model-1.safetensors": b"weights" * 1000, "README.md": b"no"}


class Missing(Exception):
    response = {"Error": {"Code": "404"}}  # noqa: RUF012


class Store:
    """A bucket in memory that behaves like boto3's S3 client."""

    def __init__(self):
        self.objects, self.uploads = {}, []

    def upload_fileobj(self, Fileobj, Bucket, Key):  # noqa: N803
        parts = iter(lambda: Fileobj.read(1024), b"")
        self.objects[Key] = b"".join(parts)
        self.uploads.append(Key)

    def put_object(self, *, Bucket, Key, Body, ContentType):  # noqa: N803
        self.objects[Key] = Body

    def head_object(self, *, Bucket, Key):  # noqa: N803
        if Key not in self.objects:
            raise Missing
        return {"ContentLength": len(self.objects[Key])}

    def get_object(self, *, Bucket, Key):  # noqa: N803
        if Key not in self.objects:
            raise Missing
        return {"Body": io.BytesIO(self.objects[Key])}

    def delete_object(self, *, Bucket, Key):  # noqa: N803
        del self.objects[Key]


def entry(name, content):
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    found = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if name.endswith(".safetensors"):
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest()}
    return found


class Hub(http.server.BaseHTTPRequestHandler):
    files, posted = dict(FILES), []

    def do_GET(self):
        pages = [[entry(*each)] for each in sorted(FILES.items())]
        headers, code, body = {}, 200, b""
        if self.path.startswith(f"/api/models/org/m/tree/{REVISION}"):
            page = int(self.path.partition("page=")[2] or 0)
            body = json.dumps(pages[page]).encode()
            if page + 1 < len(pages):
                address = f"http://127.0.0.1:{self.server.server_port}/api/models/org/m/tree/{REVISION}?page={page + 1}"
                headers["Link"] = f'<{address}>; rel="next"'
        elif self.path.startswith(f"/org/m/resolve/{REVISION}/"):
            body = self.files[self.path.rpartition("/")[2]]
        elif self.path == "/collections":
            body = b'{"result": {"collections": [{"name": "docs"}]}}'
        elif self.path.startswith("/collections/docs/snapshots/"):
            body = b"snapshot"
        else:
            code = 404
        self._send(code, headers, body)

    def do_POST(self):
        type(self).posted.append(("POST", self.path, self.headers["api-key"]))
        self._send(200, {}, b'{"result": {"name": "docs-1.snapshot"}}')

    def do_DELETE(self):
        type(self).posted.append(("DELETE", self.path, self.headers["api-key"]))
        self._send(200, {}, b'{"result": true}')

    def _send(self, code, headers, body):
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    Hub.files, Hub.posted = dict(FILES), []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def copy(store, hub, *, model="org/m", revision=REVISION):
    place = {"model": model, "revision": revision, "bucket": "weights", "prefix": f"models/{model}/{revision}"}
    return list(ingest(store, hub=hub, **place))


PREFIX = f"models/org/m/{REVISION}"


def test_what_serving_reads_is_copied_and_the_manifest_lists_it_with_digests(hub):
    store = Store()
    lines = copy(store, hub)
    assert sorted(store.objects) == [f"{PREFIX}/{name}" for name in ("config.json", "model-1.safetensors", MANIFEST)]
    manifest = json.loads(store.objects[f"{PREFIX}/{MANIFEST}"])
    assert [each["path"] for each in manifest["files"]] == ["config.json", "model-1.safetensors"]
    assert manifest["files"][1]["digest"] == hashlib.sha256(FILES["model-1.safetensors"]).hexdigest()
    assert lines[-1] == f"org/m@{REVISION}: complete, 7023 bytes in 2 files"


def test_a_second_run_copies_nothing(hub):
    store = Store()
    copy(store, hub)
    store.uploads.clear()
    assert copy(store, "http://127.0.0.1:1") == [f"org/m@{REVISION}: complete since an earlier run, 7023 bytes"]
    assert store.uploads == []


def test_a_run_that_was_cut_off_goes_on_where_it_was(hub):
    store = Store()
    copy(store, hub)
    del store.objects[f"{PREFIX}/{MANIFEST}"], store.objects[f"{PREFIX}/model-1.safetensors"]
    store.uploads.clear()
    copy(store, hub)
    assert store.uploads == [f"{PREFIX}/model-1.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model-1.safetensors"])
def test_a_file_that_is_not_what_the_hub_promised_is_removed_and_nothing_is_complete(hub, name):
    Hub.files[name] = FILES[name][:-1] + b"!"
    store = Store()
    with pytest.raises(IngestError, match=f"{name}: .* limit: {len(FILES[name])} bytes"):
        copy(store, hub)
    assert f"{PREFIX}/{name}" not in store.objects
    assert f"{PREFIX}/{MANIFEST}" not in store.objects


def test_a_branch_is_refused_because_it_moves(hub):
    with pytest.raises(IngestError, match="'main' is not a commit"):
        copy(Store(), hub, revision="main")


def test_an_unknown_model_is_said_to_be_unknown(hub):
    with pytest.raises(IngestError, match=r"no such model or revision \(404\)"):
        copy(Store(), hub, model="org/other")


def test_a_hub_that_is_not_reachable_is_one_line(hub):
    with pytest.raises(IngestError, match=r"not reachable .* this job needs a way out"):
        copy(Store(), "http://127.0.0.1:1")


def test_a_prefix_that_holds_another_model_is_left_alone(hub):
    store = Store()
    store.objects[f"{PREFIX}/{MANIFEST}"] = b'{"model": "org/x", "revision": "y", "bytes": 1}'
    with pytest.raises(IngestError, match="holds org/x@y; hint: use another prefix"):
        copy(store, hub)


def test_every_collection_is_snapshotted_uploaded_and_removed_from_its_peer(hub, monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "k")
    store = Store()
    keys = list(snapshot(store, peers=[hub], bucket="b", prefix="snapshots/qdrant"))
    assert keys == ["snapshots/qdrant/docs/127/docs-1.snapshot"]
    assert store.objects == {keys[0]: b"snapshot"}
    assert Hub.posted == [
        ("POST", "/collections/docs/snapshots", "k"),
        ("DELETE", "/collections/docs/snapshots/docs-1.snapshot", "k"),
    ]
