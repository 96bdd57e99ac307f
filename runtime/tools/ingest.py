"""Copy one revision of a model from the hub to the model store, once, verified.

Serving pods never talk to the hub: they read what this job wrote. The revision is a commit, so that the same
prefix always means the same bytes. Each file's SHA-256 (large files) or git blob id (small ones), as the hub
states it, is compared with what was streamed; the manifest is written last, so that its presence means "complete".
A job that is started again copies only what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol

MANIFEST = "tonnage-manifest.json"
HUB = "https://huggingface.co"
SERVED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
"""What vLLM reads; other weight formats of the same model are left where they are."""

CHUNK_BYTES = 8 * 2**20
TIMEOUT_S = 60
COMMIT = re.compile(r"[0-9a-f]{40}")


class IngestError(Exception):
    """The revision cannot be copied; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a revision, with the digest that the hub states for it."""

    path: str
    size: int
    algorithm: str
    digest: str


class Store(Protocol):
    """What is needed of S3; the client of boto3 has it."""

    def upload_fileobj(self, Fileobj: Any, Bucket: str, Key: str) -> None: ...  # noqa: D102, N803
    def put_object(self, **arguments: Any) -> Any: ...  # noqa: D102
    def get_object(self, **arguments: Any) -> Any: ...  # noqa: D102
    def head_object(self, **arguments: Any) -> Any: ...  # noqa: D102
    def delete_object(self, **arguments: Any) -> Any: ...  # noqa: D102


def _open(url: str) -> Any:
    token = os.environ.get("HF_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        reasons = {401: "no access", 403: "no access", 404: "no such model or revision", 429: "too many requests"}
        reason = reasons.get(error.code, "refused")
        way_out = "accept the licence and set HF_TOKEN" if error.code in {401, 403} else "check model and revision"
        msg = f"{url}: {reason} ({error.code}); hint: {way_out}"
        raise IngestError(msg) from error
    except OSError as error:
        msg = f"{url}: not reachable ({error}); hint: this job needs a way out to the hub"
        raise IngestError(msg) from error


def _next_page(answer: Any) -> str | None:
    match = re.search(r'<([^>]+)>;\s*rel="next"', answer.headers.get("Link") or "")
    return match.group(1) if match else None


def list_files(hub: str, model: str, revision: str) -> list[HubFile]:
    """Return the files of a revision that serving needs, sorted by path; follows the hub's pages."""
    url: str | None = f"{hub}/api/models/{urllib.parse.quote(model)}/tree/{revision}?recursive=true"
    entries: list[dict[str, Any]] = []
    while url:
        with _open(url) as answer:
            entries += json.load(answer)
            url = _next_page(answer)
    files = []
    for entry in entries:
        name = entry["path"].rpartition("/")[2]
        if entry["type"] != "file" or not any(fnmatchcase(name, pattern) for pattern in SERVED):
            continue
        large = entry.get("lfs")
        algorithm, digest = ("sha256", large["oid"]) if large else ("git-sha1", entry["oid"])
        files.append(HubFile(path=entry["path"], size=entry["size"], algorithm=algorithm, digest=digest))
    if not any(each.path.endswith(".safetensors") for each in files):
        msg = f"{model}@{revision}: has no .safetensors file; hint: choose a revision that has"
        raise IngestError(msg)
    return sorted(files, key=lambda each: each.path)


class HashingReader:
    """A stream that hashes what passes through it, so that no file has to fit in memory or on disk."""

    def __init__(self, source: Any, file: HubFile) -> None:
        """Wrap ``source``; ``file`` says which digest is wanted (a git blob's begins with its size)."""
        self._source = source
        self._hash = hashlib.sha256() if file.algorithm == "sha256" else hashlib.sha1(usedforsecurity=False)
        if file.algorithm == "git-sha1":
            self._hash.update(f"blob {file.size}\0".encode())
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        chunk: bytes = self._source.read(size if size >= 0 else CHUNK_BYTES)
        self._hash.update(chunk)
        self.size += len(chunk)
        return chunk

    def digest(self) -> str:
        """Return the digest of what has passed."""
        return self._hash.hexdigest()


def _stored(store: Store, bucket: str, key: str, file: HubFile) -> bool:
    """Return whether the file is there already, by size: a copy that failed its digest was deleted."""
    try:
        return bool(store.head_object(Bucket=bucket, Key=key)["ContentLength"] == file.size)
    except Exception as error:
        if _is_missing(error):
            return False
        raise


def _is_missing(error: Exception) -> bool:
    response = getattr(error, "response", {})
    return response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}


def _copy(store: Store, bucket: str, key: str, url: str, file: HubFile) -> None:
    with _open(url) as source:
        reader = HashingReader(source, file)
        store.upload_fileobj(reader, bucket, key)
    if reader.size != file.size or reader.digest() != file.digest:
        store.delete_object(Bucket=bucket, Key=key)
        got, want = f"{reader.size} bytes with {reader.digest()}", f"{file.size} bytes with {file.digest}"
        msg = f"{file.path}: {got} ({file.algorithm}); limit: {want}; hint: run again, the hub's answer was damaged"
        raise IngestError(msg)


def _manifest(store: Store, bucket: str, prefix: str) -> dict[str, Any] | None:
    try:
        answer = store.get_object(Bucket=bucket, Key=f"{prefix}/{MANIFEST}")
    except Exception as error:
        if _is_missing(error):
            return None
        raise
    found: dict[str, Any] = json.loads(answer["Body"].read())
    return found


def ingest(store: Store, *, hub: str, model: str, revision: str, bucket: str, prefix: str) -> Iterator[str]:
    """Copy a revision; yields a line per step. Raises ``IngestError``; does nothing when the manifest is there."""
    if not COMMIT.fullmatch(revision):
        msg = f"revision: {revision!r} is not a commit of 40 hexadecimal digits; hint: branches and tags move"
        raise IngestError(msg)
    done = _manifest(store, bucket, prefix)
    if done is not None:
        if (done.get("model"), done.get("revision")) != (model, revision):
            msg = f"s3://{bucket}/{prefix}: holds {done.get('model')}@{done.get('revision')}; hint: use another prefix"
            raise IngestError(msg)
        yield f"{model}@{revision}: complete since an earlier run, {done['bytes']} bytes"
        return
    files = list_files(hub, model, revision)
    for place, file in enumerate(files, start=1):
        key = f"{prefix}/{file.path}"
        there = _stored(store, bucket, key, file)
        if not there:
            url = f"{hub}/{urllib.parse.quote(model)}/resolve/{revision}/{urllib.parse.quote(file.path)}"
            _copy(store, bucket, key, url, file)
        yield f"{place}/{len(files)} {file.path} {file.size} bytes {'was there' if there else 'copied'}"
    total = sum(file.size for file in files)
    content = {"model": model, "revision": revision, "bytes": total, "files": [asdict(file) for file in files]}
    body = json.dumps(content, indent=2, sort_keys=True).encode()
    store.put_object(Bucket=bucket, Key=f"{prefix}/{MANIFEST}", Body=body, ContentType="application/json")
    yield f"{model}@{revision}: complete, {total} bytes in {len(files)} files"


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy as the arguments say; 0 complete, 2 with one line otherwise."""
    parser = argparse.ArgumentParser(prog="runtime.ingest")
    for name in ("--model", "--revision", "--prefix"):
        parser.add_argument(name, required=True)
    parser.add_argument("--bucket", default=os.environ.get("TONNAGE_BUCKET"))
    given = parser.parse_args(arguments)
    if not given.bucket:
        print("TONNAGE_BUCKET: is not set; hint: set it to the model store's bucket", file=sys.stderr)
        return 2
    import boto3  # noqa: PLC0415 - only the two programs that talk to S3 need it

    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    place = {"model": given.model, "revision": given.revision, "bucket": given.bucket, "prefix": given.prefix}
    try:
        for line in ingest(boto3.client("s3"), hub=hub, **place):
            print(line, flush=True)
    except IngestError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
