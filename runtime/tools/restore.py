"""Restore a Qdrant cluster from one set of snapshots: all is checked before anything is changed.

Each node gets back its own snapshot, streamed from the bucket; it checks size and SHA-256 itself before it replaces
what it holds. Afterwards every shard must serve and the number of points must be what it was.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .hub import CHUNK_BYTES
from .qdrant import Node, QdrantError
from .snapshot import SETS, VERSION, parser, run
from .store import DIGEST, ModelPrefix, is_missing

NEWEST = "newest"
SETTLE_S = 1800.0
"""Time for shards to become active after the last snapshot."""
POLL_S = 5.0


def known_sets(store: ModelPrefix) -> list[str]:
    """Return the names of the complete sets, oldest first; their names are times."""
    inside = ModelPrefix(client=store.client, bucket=store.bucket, prefix=f"{store.prefix}/{SETS}")
    return [path.removesuffix(".json") for path in inside.paths() if path.endswith(".json")]


def chosen(store: ModelPrefix, wanted: str) -> tuple[str, Mapping[str, Any]]:
    """Return name and document of the wanted set; ``QdrantError`` lists those that there are."""
    known = known_sets(store)
    name = known[-1] if known and wanted == NEWEST else wanted
    if name not in known:
        msg = f"set {wanted}: does not exist under {store.prefix}; there are: {', '.join(known) or 'none'}"
        raise QdrantError(msg)
    document = json.loads(store.read(f"{SETS}/{name}.json") or b"{}")
    if document.get("version") != VERSION:
        msg = f"set {name}: has version {document.get('version')!r}; limit: version {VERSION}"
        raise QdrantError(msg)
    return name, document


def check(store: ModelPrefix, document: Mapping[str, Any], nodes: Sequence[Node]) -> None:
    """Raise ``QdrantError`` unless the nodes are those of the set and every snapshot is there, as it was written."""
    if [node.name for node in nodes] != document["nodes"]:
        have, want = ", ".join(node.name for node in nodes), ", ".join(document["nodes"])
        msg = f"the store has the nodes {have}; limit: those of the set, {want}"
        raise QdrantError(msg)
    for one in document["snapshots"]:
        try:
            head = store.client.head_object(Bucket=store.bucket, Key=f"{store.prefix}/{one['path']}")
        except Exception as error:
            if not is_missing(error):
                raise
            msg = f"{one['path']}: is not in the bucket any more"
            raise QdrantError(msg) from error
        stated = head.get("Metadata", {}).get(DIGEST)
        if head["ContentLength"] != one["size"] or stated != f"sha256:{one['sha256']}":
            msg = (
                f"{one['path']}: {head['ContentLength']} bytes with {stated}; limit: {one['size']} bytes as in the set"
            )
            raise QdrantError(msg)


def restore(
    store: ModelPrefix, *, peers: Sequence[str], wanted: str, pause: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Restore the wanted set; yields a line for each step."""
    nodes = [Node(peer) for peer in peers]
    yield f"complete sets: {', '.join(known_sets(store)) or 'none'}"
    name, document = chosen(store, wanted)
    check(store, document, nodes)
    size = sum(one["size"] for one in document["snapshots"])
    yield f"{name}: {len(document['snapshots'])} snapshots are there, {size} bytes"
    by_name = {node.name: node for node in nodes}
    for one in document["snapshots"]:
        body = store.client.get_object(Bucket=store.bucket, Key=f"{store.prefix}/{one['path']}")["Body"]
        chunks = iter(lambda body=body: body.read(CHUNK_BYTES), b"")
        by_name[one["node"]].recover(one["collection"], chunks, one["size"], one["sha256"])
        yield f"{one['path']}: recovered"
    _alias(nodes[0], document["aliases"])
    for collection, (least, most) in sorted(document["points"].items()):
        _settled(nodes, collection, pause)
        points = nodes[0].points(collection)
        if not least <= points <= most:
            msg = f"{collection}: {points} points after the restore; limit: {least} to {most}, as when it was taken"
            raise QdrantError(msg)
        yield f"{collection}: {points} points, every shard serves"


def _alias(node: Node, aliases: Sequence[Mapping[str, str]]) -> None:
    """Give the collections their aliases again: no snapshot has them."""
    actions = [
        {"create_alias": {"alias_name": one["alias_name"], "collection_name": one["collection_name"]}}
        for one in aliases
    ]
    if actions:
        node.post("/collections/aliases", {"actions": actions})


def _settled(nodes: Sequence[Node], collection: str, pause: Callable[[float], None]) -> None:
    waited = 0.0
    while dead := [f"{node.name}: shard {shard}" for node in nodes for shard in node.inactive_shards(collection)]:
        if waited >= SETTLE_S:
            msg = f"{collection}: {dead[0]} after {SETTLE_S:.0f} s; limit: Active"
            raise QdrantError(msg)
        pause(POLL_S)
        waited += POLL_S


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore as the arguments say; 0 when all is back and serves."""
    options = parser("runtime.restore")
    options.add_argument("--set", dest="wanted", default=NEWEST, help="name of a complete set, by default the newest")
    given = options.parse_args(arguments)
    hint = "nothing that is not named as recovered was changed"
    return run(given, lambda store: restore(store, peers=given.peers, wanted=given.wanted), hint)


if __name__ == "__main__":
    sys.exit(main())
