"""Copy one revision of a model from the hub to the model store, once, verified.

Serving pods never talk to the hub: they read what this job wrote. The revision is a commit, so that the same
prefix always means the same bytes. Each file's SHA-256 (large files) or git blob id (small ones), as the hub
states it, is compared with what was streamed; the manifest is written last, so that its presence means "complete".
A job that is started again copies only what is missing.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .choice import HubFile, choose, hub_file
from .hub import BROKEN, Broken, FileStream, GaveUp, Hub, IngestError, Patience, origin
from .store import Damaged, ModelPrefix, verified

MANIFEST = "tonnage-manifest.json"
RULES = 2
"""Version of the rules by which files are chosen; a prefix that older ones filled is looked through once more."""
COMMIT = re.compile(r"[0-9a-f]{40}")
MODEL = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
LISTING_BYTES, MOST_PAGES = 64 * 2**20, 1000
COPIES = 3
"""Times that a file is fetched whose bytes are not what the hub states."""
DEADLINE_S = 6 * 3600
FINAL, AGAIN = 2, 1
"""Exit codes: running again changes nothing; running again goes on."""


def list_files(hub: Hub, model: str, revision: str) -> list[HubFile]:
    """Return all files of a revision; follows the hub's pages, on the hub alone."""
    what = f"{model}@{revision}"
    url: str | None = f"{hub.endpoint}/api/models/{urllib.parse.quote(model)}/tree/{revision}?recursive=true"
    files: list[HubFile] = []
    for _ in range(MOST_PAGES):
        if url is None:
            return files
        if origin(url) != origin(hub.endpoint):
            msg = (
                f"{what}: the hub's listing goes on at {origin(url)[1]}; limit: the hub itself; hint: check HF_ENDPOINT"
            )
            raise IngestError(msg)
        entries, url = _page(hub, url, what)
        files += [hub_file(entry) for entry in entries if entry.get("type") == "file"]
    msg = f"{what}: the hub's listing has more than {MOST_PAGES} pages; hint: check HF_ENDPOINT"
    raise IngestError(msg)


def _page(hub: Hub, url: str, what: str) -> tuple[list[dict[str, Any]], str | None]:
    """Return one page of the listing and the address of the next."""
    while True:
        try:
            with hub.open(url, what) as answer:
                content = answer.read(LISTING_BYTES)
                length = answer.headers.get("Content-Length") or ""
                following = re.search(r'<([^>]+)>;\s*rel="next"', answer.headers.get("Link") or "")
            if length.isdecimal() and len(content) < min(int(length), LISTING_BYTES):
                raise Broken
        except (*BROKEN, Broken):
            hub.patience.wait(what, "the listing broke off")
            continue
        hub.patience.progress()
        try:
            entries = json.loads(content)
        except (ValueError, RecursionError):
            entries = None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            msg = f"{what}: the hub's answer is no listing of files; hint: check that HF_ENDPOINT is a hub"
            raise IngestError(msg)
        return entries, following[1] if following else None


class _Copy:
    """The copy of one revision."""

    def __init__(self, store: ModelPrefix, hub: Hub, model: str, revision: str) -> None:
        self.store, self.hub, self.model, self.revision = store, hub, model, revision
        self.name = f"{model}@{revision}"

    def stream(self, file: HubFile) -> FileStream:
        return FileStream(self.hub, self.hub.address(self.model, self.revision, file.path), file.path, file.size)

    def small(self, file: HubFile) -> bytes:
        """Return the verified bytes of a small file."""
        return self._tried(file, lambda source: next(verified(source, file, max(1, file.size))))

    def copy(self, file: HubFile) -> None:
        self._tried(file, lambda source: self.store.write(file, source))

    def _tried(self, file: HubFile, work: Any) -> Any:
        """Do ``work`` with a stream of the file; begin again, a few times, when damaged bytes came."""
        for copies in range(1, COPIES + 1):
            source = self.stream(file)
            try:
                return work(source)
            except Damaged as error:
                if copies == COPIES:
                    msg = f"{error}; hint: it came damaged {COPIES} times, look at what stands between hub and job"
                    raise IngestError(msg) from None
                self.hub.patience.say(f"{error}; fetched again")
            finally:
                source.close()
        return None

    def tidy(self, listed: Sequence[HubFile], chosen: Sequence[HubFile]) -> Iterator[str]:
        """Remove weights that other rules copied; ``IngestError`` for weights that are none of the revision's."""
        known, wanted = {file.path for file in listed}, {file.path for file in chosen}
        for path in self.store.paths():
            if not path.endswith(".safetensors") or path in wanted:
                continue
            if path not in known:
                place = f"s3://{self.store.bucket}/{self.store.prefix}/{path}"
                msg = f"{place}: is no file of {self.name}, and the engine would read it; hint: move it elsewhere"
                raise IngestError(msg)
            self.store.remove(path)
            yield f"{path}: removed, the engine would read it beside the weights"


def _complete(store: ModelPrefix, model: str, revision: str) -> dict[str, Any] | None:
    """Return the manifest of an earlier run; ``IngestError`` when the prefix holds something else."""
    found = store.read(MANIFEST)
    if found is None:
        return None
    try:
        done = json.loads(found)
    except ValueError:
        return None
    if (done.get("model"), done.get("revision")) != (model, revision):
        place = f"s3://{store.bucket}/{store.prefix}"
        msg = f"{place}: holds {done.get('model')}@{done.get('revision')}; hint: use another prefix"
        raise IngestError(msg)
    return done if done.get("rules") == RULES else None


def ingest(store: ModelPrefix, hub: Hub, *, model: str, revision: str) -> Iterator[str]:
    """Copy a revision; yields a line per step. Raises ``IngestError``; does nothing when the manifest is there."""
    if not COMMIT.fullmatch(revision):
        msg = f"revision: {revision!r} is not a commit of 40 hexadecimal digits; hint: branches and tags move"
        raise IngestError(msg)
    if not MODEL.fullmatch(model) or ".." in model:
        msg = f"model: {model!r} is no name of the hub; limit: owner/name"
        raise IngestError(msg)
    job = _Copy(store, hub, model, revision)
    done = _complete(store, model, revision)
    if done is not None:
        yield f"{job.name}: complete since an earlier run, {done['bytes']} bytes"
        return
    listed = list_files(hub, model, revision)
    choice = choose(listed, job.name, job.small)
    yield f"{job.name}: {choice.says}"
    yield from job.tidy(listed, choice.files)
    for place, file in enumerate(choice.files, start=1):
        there = store.holds(file)
        if not there:
            job.copy(file)
        yield f"{place}/{len(choice.files)} {file.path} {file.size} bytes {'was there' if there else 'copied'}"
    total = sum(file.size for file in choice.files)
    content = {
        "model": model, "revision": revision, "rules": RULES, "bytes": total,
        "files": [asdict(file) for file in choice.files],
    }  # fmt: skip
    store.put(MANIFEST, json.dumps(content, indent=2, sort_keys=True).encode())
    yield f"{job.name}: complete, {total} bytes in {len(choice.files)} files"


def _stop(number: int, _frame: object) -> None:
    """End as an error does, so that an upload that has begun is aborted."""
    raise SystemExit(128 + number)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(text)
    return seconds


_seconds.__name__ = "seconds"  # as argparse names it to whoever states it


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="runtime.ingest")
    for name in ("--model", "--revision", "--prefix"):
        parser.add_argument(name, required=True)
    parser.add_argument("--bucket", default=os.environ.get("TONNAGE_BUCKET"))
    parser.add_argument(
        "--deadline-s",
        type=_seconds,
        default=os.environ.get("TONNAGE_INGEST_DEADLINE_S", str(DEADLINE_S)),
        help="for how long a hub that is busy or gone is waited for; TONNAGE_INGEST_DEADLINE_S where it is left out",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy as the arguments say; 0 complete; with one line, 1 when running again goes on and 2 when it does not."""
    given = _arguments(arguments)
    if not given.bucket:
        print("TONNAGE_BUCKET: is not set; hint: set it to the model store's bucket", file=sys.stderr)
        return FINAL
    import boto3  # noqa: PLC0415 - only the two programs that talk to S3 need it
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _stop)
    store = ModelPrefix(client=boto3.client("s3"), bucket=given.bucket, prefix=given.prefix)
    try:
        hub = Hub(Patience(given.deadline_s, say=lambda line: print(line, flush=True)))
        for line in ingest(store, hub, model=given.model, revision=given.revision):
            print(line, flush=True)
    except GaveUp as error:
        print(error, file=sys.stderr)
        return AGAIN
    except IngestError as error:
        print(error, file=sys.stderr)
        return FINAL
    except (BotoCoreError, ClientError) as error:
        place, reason = f"s3://{store.bucket}/{store.prefix}", " ".join(str(error).split())
        print(f"{place}: {reason}; hint: see the role of the job and its way to S3", file=sys.stderr)
        return AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
