"""Writing to the model store: a file is under its key when all of it is there and verified, or not at all.

A file goes up in parts as it comes down, so it needs neither disk nor much memory. The upload is completed after the
digest of all bytes was compared, else aborted; what its key holds then carries the digest as metadata.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from .choice import HubFile
from .hub import CHUNK_BYTES

PART_BYTES = 64 * 2**20
MOST_PARTS = 10_000
"""Limit of S3 for one upload."""
AT_ONCE = 3
"""Parts in flight: with the one that is read they stay below half of the job's memory."""
DIGEST = "tonnage-digest"


class Damaged(Exception):
    """The bytes that came are not those that the hub states."""


class Source(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102


def hasher(file: HubFile) -> Any:
    """Return the hash in which the hub states the file's digest; that of a git blob begins with its size."""
    if file.algorithm == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def verified(source: Source, file: HubFile, part_bytes: int) -> Iterator[bytes]:
    """Yield the file in parts; ``Damaged`` in place of the last when the whole is not what the hub states."""
    digest, size, part = hasher(file), 0, bytearray()
    while chunk := source.read(min(CHUNK_BYTES, part_bytes)):
        digest.update(chunk)
        size += len(chunk)
        part += chunk
        while len(part) > part_bytes:
            yield bytes(part[:part_bytes])
            del part[:part_bytes]
    if size != file.size or digest.hexdigest() != file.digest:
        got, want = f"{size} bytes with {digest.hexdigest()}", f"{file.size} bytes with {file.digest}"
        msg = f"{file.path}: {got} ({file.algorithm}); limit: {want}"
        raise Damaged(msg)
    yield bytes(part)


@dataclass(frozen=True, kw_only=True)
class ModelPrefix:
    """A prefix of a bucket; ``client`` is boto3's client of S3."""

    client: Any
    bucket: str
    prefix: str
    part_bytes: int = PART_BYTES

    def holds(self, file: HubFile) -> bool:
        """Return whether the file is there and verified: by its metadata, else by reading what is stored."""
        try:
            head = self.client.head_object(**self._place(file.path))
        except Exception as error:
            if is_missing(error):
                return False
            raise
        if head["ContentLength"] != file.size:
            return False
        stated = head.get("Metadata", {}).get(DIGEST)
        return stated == _digest_of(file) if stated else self._reads_as(file)

    def _reads_as(self, file: HubFile) -> bool:
        body = self.client.get_object(**self._place(file.path))["Body"]
        digest = hasher(file)
        while chunk := body.read(CHUNK_BYTES):
            digest.update(chunk)
        return bool(digest.hexdigest() == file.digest)

    def write(self, file: HubFile, source: Source) -> None:
        """Store the file; on any error nothing is left of it, ``Damaged`` when its bytes are not the right ones."""
        if file.size <= self.part_bytes:
            (body,) = verified(source, file, self.part_bytes)
            self.client.put_object(**self._place(file.path), Body=body, Metadata={DIGEST: _digest_of(file)})
            return
        begun = self.client.create_multipart_upload(**self._place(file.path), Metadata={DIGEST: _digest_of(file)})
        upload = {**self._place(file.path), "UploadId": begun["UploadId"]}
        try:
            parts = self._parts(verified(source, file, max(self.part_bytes, math.ceil(file.size / MOST_PARTS))), upload)
            self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        except BaseException:
            self.client.abort_multipart_upload(**upload)
            raise

    def _parts(self, bodies: Iterator[bytes], upload: dict[str, str]) -> list[dict[str, Any]]:
        """Upload parts as they come, a few at once; return what completes the upload."""

        def put(number: int, body: bytes) -> dict[str, Any]:
            answer = self.client.upload_part(**upload, PartNumber=number, Body=body)
            sums = {key: answer[key] for key in answer if key.startswith("Checksum") and key != "ChecksumType"}
            return {"PartNumber": number, "ETag": answer["ETag"], **sums}

        done: list[dict[str, Any]] = []
        flying: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for number, body in enumerate(bodies, start=1):
                if len(flying) == AT_ONCE:
                    done.append(flying.popleft().result())
                flying.append(threads.submit(put, number, body))
            done += [one.result() for one in flying]
        return done

    def read(self, path: str) -> bytes | None:
        """Return a small object, None when there is none."""
        try:
            content: bytes = self.client.get_object(**self._place(path))["Body"].read()
        except Exception as error:
            if is_missing(error):
                return None
            raise
        return content

    def put(self, path: str, body: bytes) -> None:
        """Store a small JSON document."""
        self.client.put_object(**self._place(path), Body=body, ContentType="application/json")

    def remove(self, path: str) -> None:
        """Remove one object."""
        self.client.delete_object(**self._place(path))

    def paths(self) -> list[str]:
        """Return what the prefix holds, sorted."""
        found: list[str] = []
        more: dict[str, str] = {}
        while True:
            page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/", **more)
            found += [one["Key"].removeprefix(f"{self.prefix}/") for one in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return sorted(found)
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _place(self, path: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{path}"}


def _digest_of(file: HubFile) -> str:
    return f"{file.algorithm}:{file.digest}"


def is_missing(error: Exception) -> bool:
    """Return whether S3 says that there is no such object."""
    response = getattr(error, "response", {})
    return response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NotFound"}
