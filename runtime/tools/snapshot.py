"""Snapshot every collection of every Qdrant peer into a bucket; the local copy is removed after the upload."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

TIMEOUT_S = 3600
"""A snapshot is made before the answer comes: the largest collections take long."""


def _request(url: str, method: str = "GET") -> Any:
    headers = {"api-key": os.environ.get("QDRANT_API_KEY", "")}
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - addresses from the plan
    return urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310


def _result(url: str, method: str = "GET") -> Any:
    with _request(url, method) as answer:
        return json.load(answer)["result"]


def snapshot(store: Any, *, peers: Sequence[str], bucket: str, prefix: str) -> Iterator[str]:
    """Make, upload and remove one snapshot per peer and collection; yields the key of each.

    Keys are ``prefix/collection/peer/name``; Qdrant puts the time into the name. ``store`` is an S3 client.
    """
    for peer in peers:
        host = (urlsplit(peer).hostname or "peer").partition(".")[0]
        names = sorted(each["name"] for each in _result(f"{peer}/collections")["collections"])
        for collection in names:
            base = f"{peer}/collections/{quote(collection, safe='')}/snapshots"
            made = _result(base, "POST")["name"]
            key = f"{prefix}/{collection}/{host}/{made}"
            with _request(f"{base}/{quote(made)}") as body:
                store.upload_fileobj(body, bucket, key)
            _result(f"{base}/{quote(made)}", "DELETE")
            yield key


def main(arguments: Sequence[str] | None = None) -> int:
    """Snapshot as the arguments say; 0 when every collection of every peer is in the bucket."""
    parser = argparse.ArgumentParser(prog="runtime.snapshot")
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--bucket", default=os.environ.get("TONNAGE_BUCKET"))
    parser.add_argument("peers", nargs="+")
    given = parser.parse_args(arguments)
    if not given.bucket:
        print("TONNAGE_BUCKET: is not set; hint: set it to the snapshot bucket", file=sys.stderr)
        return 2
    import boto3  # noqa: PLC0415 - only the two programs that talk to S3 need it

    try:
        for key in snapshot(boto3.client("s3"), peers=given.peers, bucket=given.bucket, prefix=given.prefix):
            print(key, flush=True)
    except OSError as error:
        print(f"snapshot: {error}; hint: the next run starts again", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
