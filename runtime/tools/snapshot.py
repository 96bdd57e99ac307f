"""Snapshot every collection of every Qdrant node into a bucket, as one set that a restore can use.

A snapshot counts when its size and SHA-256 are those that the node stated, and a set when it has all of them: then
``sets/<time>.json`` names them. The copy on the node's own disk is removed, however the upload ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from .choice import HubFile
from .qdrant import Node, QdrantError
from .store import Damaged, ModelPrefix

SETS = "sets"
VERSION = 1


def snapshot(store: ModelPrefix, *, peers: Sequence[str], now: datetime) -> Iterator[str]:
    """Make, upload and remove one snapshot per node and collection, then the document of the set; yields each key.

    Keys are ``collection/node/name``; Qdrant puts the time into the name.
    """
    nodes = [Node(peer) for peer in peers]
    held: list[dict[str, Any]] = []
    counted: dict[str, list[int]] = {}
    for collection in sorted({name for node in nodes for name in node.collections()}):
        before = nodes[0].points(collection)
        for node in nodes:
            held.append(_upload(store, node, collection))
            yield f"{store.prefix}/{held[-1]['path']}"
        counted[collection] = sorted([before, nodes[0].points(collection)])
    document = {
        "version": VERSION,
        "nodes": [node.name for node in nodes],
        "snapshots": held,
        "points": counted,
        "aliases": nodes[0].get("/aliases")["aliases"],
    }
    path = f"{SETS}/{now:%Y%m%dT%H%M%SZ}.json"
    store.put(path, json.dumps(document, indent=2, sort_keys=True).encode())
    yield f"{store.prefix}/{path}"


def _upload(store: ModelPrefix, node: Node, collection: str) -> dict[str, Any]:
    made = node.make_snapshot(collection)
    try:
        digest = made.get("checksum")
        if not digest:
            msg = f"{node.name}: its snapshot of {collection} states no checksum; hint: Qdrant 1.8 or newer does"
            raise QdrantError(msg)
        path = f"{collection}/{node.name}/{made['name']}"
        file = HubFile(path=path, size=int(made["size"]), algorithm="sha256", digest=digest)
        with node.read_snapshot(collection, made["name"]) as body:
            store.write(file, body)
    finally:
        node.remove_snapshot(collection, made["name"])
    return {"path": path, "collection": collection, "node": node.name, "size": file.size, "sha256": digest}


def parser(program: str) -> argparse.ArgumentParser:
    """Return the options that snapshots and restores share."""
    made = argparse.ArgumentParser(prog=program)
    made.add_argument("--prefix", required=True)
    made.add_argument("--bucket", default=os.environ.get("TONNAGE_BUCKET"))
    made.add_argument("peers", nargs="+")
    return made


def run(given: argparse.Namespace, work: Any, hint: str) -> int:
    """Print each line of ``work(store)``; on an error print one line with ``hint`` and return 2."""
    if not given.bucket:
        print("TONNAGE_BUCKET: is not set; hint: set it to the snapshot bucket", file=sys.stderr)
        return 2
    import boto3  # noqa: PLC0415 - only the programs that talk to S3 need it
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        for line in work(ModelPrefix(client=boto3.client("s3"), bucket=given.bucket, prefix=given.prefix)):
            print(line, flush=True)
    except (OSError, QdrantError, Damaged, BotoCoreError, ClientError) as error:
        print(f"{' '.join(str(error).split())}; hint: {hint}", file=sys.stderr)
        return 2
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Snapshot as the arguments say; 0 when every collection of every node is in the bucket."""
    given = parser("runtime.snapshot").parse_args(arguments)
    now = datetime.now(tz=UTC)
    return run(given, lambda store: snapshot(store, peers=given.peers, now=now), "the next run starts again")


if __name__ == "__main__":
    sys.exit(main())
