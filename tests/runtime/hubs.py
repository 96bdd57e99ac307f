"""A hub and a bucket in miniature: HTTP servers on the loopback and boto3's client of S3 in memory."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
from contextlib import contextmanager

from runtime.tools.hub import Hub, Patience

REVISION = "0e9e39f249a16976918f6564b8830bc894c89659"
TOKEN = "hf_secretsecretsecret"


def entry(name, content):
    """Return a row of the hub's listing."""
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    found = {"type": "file", "path": name, "size": len(content), "oid": blob}
    if name.endswith((".safetensors", ".bin")):
        found["lfs"] = {"oid": hashlib.sha256(content).hexdigest()}
    return found


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve ``server.files``; ``server.script`` holds answers to give first, by path: (code, headers, body)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization"), self.headers.get("Range")))
        waiting = self.server.script.get(self.path.partition("?")[0], [])
        if waiting:
            answer = waiting[0] if waiting[0][0] == "always" else waiting.pop(0)
            self.answer(*(answer[1] if answer[0] == "always" else answer))
        elif self.path.startswith(f"/api/models/org/m/tree/{REVISION}"):
            listed = [entry(*each) for each in sorted(self.server.listed.items())]
            self.answer(200, {}, json.dumps(listed + self.server.rows).encode())
        else:
            self.file(self.path.removeprefix(f"/org/m/resolve/{REVISION}/"))

    def file(self, name):
        content = self.server.files.get(name)
        if content is None:
            self.answer(404, {}, b"")
            return
        start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0]) if self.server.ranges else 0
        if start >= len(content) > 0:
            self.answer(416, {}, b"")
            return
        cut = self.server.cuts.get(name)
        end = cut.pop(0) if cut else len(content)
        headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        length = {"Content-Length": str(len(content) - start)}
        self.answer(206 if start else 200, {**headers, **length}, content[start:end])
        self.close_connection = True

    def answer(self, code, headers, body):
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def serving(files=None):
    """Run one server; yields it with ``address``."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.files, server.listed, server.rows = dict(files or {}), dict(files or {}), []
    server.script, server.cuts, server.seen, server.ranges = {}, {}, [], True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Time:
    """A clock that is set forward by whoever sleeps."""

    def __init__(self, start=1_000_000.0):
        self.now, self.slept, self.lines = start, [], []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def hub(self, address, *, token="", seconds=3600.0):
        patience = Patience(
            seconds, say=self.lines.append, clock=lambda: self.now, sleep=self.sleep, wall=lambda: self.now
        )
        return Hub(patience, endpoint=address, token=token)


class Missing(Exception):
    response = {"Error": {"Code": "404"}}  # noqa: RUF012


class Bucket:
    """S3 in memory as boto3's client shows it; an upload is visible when it is completed."""

    def __init__(self):
        self.objects, self.metadata, self.written, self.uploads, self.aborted = {}, {}, [], {}, 0

    def put_object(self, *, Bucket, Key, Body, Metadata=None, ContentType=None):  # noqa: N803
        self.objects[Key], self.metadata[Key] = bytes(Body), Metadata or {}
        self.written.append(Key)

    def create_multipart_upload(self, *, Bucket, Key, Metadata):  # noqa: N803
        self.uploads[Key] = (Metadata, {})
        return {"UploadId": Key}

    def upload_part(self, *, Bucket, Key, UploadId, PartNumber, Body):  # noqa: N803
        self.uploads[UploadId][1][PartNumber] = Body
        return {"ETag": f'"{hashlib.md5(Body).hexdigest()}"', "ChecksumCRC32": "AAAAAA==", "ChecksumType": "COMPOSITE"}

    def complete_multipart_upload(self, *, Bucket, Key, UploadId, MultipartUpload):  # noqa: N803
        metadata, parts = self.uploads.pop(UploadId)
        numbers = [part["PartNumber"] for part in MultipartUpload["Parts"]]
        assert numbers == sorted(parts) == list(range(1, len(parts) + 1))
        assert all(set(part) == {"PartNumber", "ETag", "ChecksumCRC32"} for part in MultipartUpload["Parts"])
        self.put_object(Bucket=Bucket, Key=Key, Body=b"".join(parts[n] for n in numbers), Metadata=metadata)

    def abort_multipart_upload(self, *, Bucket, Key, UploadId):  # noqa: N803
        del self.uploads[UploadId]
        self.aborted += 1

    def head_object(self, *, Bucket, Key):  # noqa: N803
        if Key not in self.objects:
            raise Missing
        return {"ContentLength": len(self.objects[Key]), "Metadata": self.metadata[Key]}

    def get_object(self, *, Bucket, Key):  # noqa: N803
        if Key not in self.objects:
            raise Missing
        return {"Body": io.BytesIO(self.objects[Key])}

    def delete_object(self, *, Bucket, Key):  # noqa: N803
        del self.objects[Key]

    def list_objects_v2(self, *, Bucket, Prefix, ContinuationToken=""):  # noqa: N803
        keys = sorted(key for key in self.objects if key.startswith(Prefix) and key > ContinuationToken)
        page = {"Contents": [{"Key": key} for key in keys[:2]], "IsTruncated": len(keys) > 2}
        return {**page, "NextContinuationToken": keys[1]} if len(keys) > 2 else page
