"""The ingest job: one commit of a model, verified byte by byte, complete or not there."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest

from runtime.tools.hub import IngestError
from runtime.tools.ingest import MANIFEST, ingest
from runtime.tools.store import ModelPrefix
from tests.runtime.conftest import wait_for
from tests.runtime.hubs import REVISION, TOKEN, Bucket, Time, entry, serving
from tests.support.images import lay_out

WEIGHTS = bytes(range(256)) * 28
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": WEIGHTS, "README.md": b"no"}
PREFIX = f"models/org/m/{REVISION}"
LISTING = f"/api/models/org/m/tree/{REVISION}"


@pytest.fixture
def hub():
    with serving(FILES) as server:
        yield server


def copy(bucket, hub, *, model="org/m", revision=REVISION, clock=None, token="", part=1024):
    store = ModelPrefix(client=bucket, bucket="weights", prefix=f"models/{model}/{revision}", part_bytes=part)
    return list(ingest(store, (clock or Time()).hub(hub.address, token=token), model=model, revision=revision))


def keys(bucket):
    return sorted(key.removeprefix(f"{PREFIX}/") for key in bucket.objects)


def test_what_serving_reads_is_copied_and_the_manifest_lists_it_with_digests(hub):
    bucket = Bucket()
    lines = copy(bucket, hub)
    assert keys(bucket) == ["config.json", "model.safetensors", MANIFEST]
    assert bucket.objects[f"{PREFIX}/model.safetensors"] == WEIGHTS
    manifest = json.loads(bucket.objects[f"{PREFIX}/{MANIFEST}"])
    assert [each["path"] for each in manifest["files"]] == ["config.json", "model.safetensors"]
    assert manifest["files"][1]["digest"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert lines[0] == f"org/m@{REVISION}: weights: model.safetensors"
    assert lines[-1] == f"org/m@{REVISION}: complete, 7191 bytes in 2 files"


def test_a_listing_in_pages_is_followed_with_the_token_on_the_hub_alone(hub):
    rows = [json.dumps([row]).encode() for row in [entry(*each) for each in sorted(FILES.items())]]
    address = f"{hub.address}{LISTING}?page="
    hub.script[LISTING] = [
        (200, {"Link": f'<{address}2>; rel="next"'}, rows[1]),
        (200, {"Link": f'<{address}3>; rel="next"'}, rows[2]),
        (200, {}, rows[0]),
    ]
    bucket = Bucket()
    copy(bucket, hub, token=TOKEN)
    assert keys(bucket) == ["config.json", "model.safetensors", MANIFEST]
    assert {token for _, token, _ in hub.seen} == {f"Bearer {TOKEN}"}
    with serving() as other:
        hub.script[LISTING] = [(200, {"Link": f'<{other.address}/next>; rel="next"'}, rows[0])]
        with pytest.raises(IngestError, match=r"the hub's listing goes on at 127.0.0.1; limit: the hub itself"):
            copy(Bucket(), hub, token=TOKEN)
        assert other.seen == []


def test_a_second_run_copies_nothing(hub):
    bucket = Bucket()
    copy(bucket, hub)
    bucket.written.clear()
    hub.seen.clear()
    assert copy(bucket, hub) == [f"org/m@{REVISION}: complete since an earlier run, 7191 bytes"]
    assert (bucket.written, hub.seen) == ([], [])


def test_a_run_that_was_cut_off_goes_on_where_it_was(hub):
    bucket = Bucket()
    copy(bucket, hub)
    del bucket.objects[f"{PREFIX}/{MANIFEST}"], bucket.objects[f"{PREFIX}/model.safetensors"]
    bucket.written.clear()
    copy(bucket, hub)
    assert bucket.written == [f"{PREFIX}/model.safetensors", f"{PREFIX}/{MANIFEST}"]


@pytest.mark.parametrize(("stored", "copied"), [(WEIGHTS, False), (WEIGHTS[:-1] + b"!", True), (WEIGHTS[:-1], True)])
def test_a_stored_file_that_nobody_verified_is_read_before_it_is_believed(hub, stored, copied):
    bucket = Bucket()
    bucket.put_object(Bucket="weights", Key=f"{PREFIX}/model.safetensors", Body=stored)
    bucket.written.clear()
    copy(bucket, hub)
    assert (f"{PREFIX}/model.safetensors" in bucket.written) is copied
    assert bucket.objects[f"{PREFIX}/model.safetensors"] == WEIGHTS


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_is_not_what_the_hub_promised_never_stands_under_its_key(hub, name):
    hub.files[name] = FILES[name][:-1] + b"!"
    bucket, clock = Bucket(), Time()
    with pytest.raises(IngestError, match=rf"{name}: .* limit: {len(FILES[name])} bytes.*damaged 3 times"):
        copy(bucket, hub, clock=clock)
    assert f"{PREFIX}/{name}" not in bucket.written
    assert MANIFEST not in keys(bucket)
    assert (bucket.uploads, bucket.aborted) == ({}, 3 if name == "model.safetensors" else 0)
    assert [line.endswith("; fetched again") for line in clock.lines] == [True, True]


def test_a_file_that_came_damaged_once_is_fetched_again(hub):
    hub.script[f"/org/m/resolve/{REVISION}/config.json"] = [(200, {}, b"{" * len(FILES["config.json"]))]
    bucket = Bucket()
    copy(bucket, hub)
    assert bucket.objects[f"{PREFIX}/config.json"] == FILES["config.json"]


@pytest.mark.parametrize(("ranges", "second"), [(True, 5000), (False, 5001)])
def test_an_interrupted_file_goes_on_where_it_broke_and_its_digest_is_that_of_the_whole(hub, ranges, second):
    hub.cuts["model.safetensors"], hub.ranges = [3000, second], ranges
    bucket, clock = Bucket(), Time()
    copy(bucket, hub, clock=clock)
    assert bucket.objects[f"{PREFIX}/model.safetensors"] == WEIGHTS
    asked = [wanted for path, _, wanted in hub.seen if path.endswith("model.safetensors")]
    assert asked == [None, "bytes=3000-", f"bytes={second}-"]
    assert [line.partition(" (")[0] for line in clock.lines] == [
        "model.safetensors: broke off at byte 3000",
        f"model.safetensors: broke off at byte {second}",
    ]


@pytest.mark.parametrize("length", [-1, 1])
def test_a_file_of_another_length_than_listed_is_refused_and_not_waited_for(hub, length):
    hub.files["model.safetensors"] = WEIGHTS[:-1] if length < 0 else WEIGHTS + b"!"
    clock, whole = Time(), len(WEIGHTS) + length
    with pytest.raises(IngestError, match=rf"^model.safetensors: {whole} bytes at the hub; limit: 7168 bytes"):
        copy(Bucket(), hub, clock=clock)
    assert clock.slept == []


def test_weights_that_other_rules_left_in_the_prefix_are_removed_before_an_engine_reads_them(hub):
    hub.listed["original/x.safetensors"] = b"twice"
    bucket = Bucket()
    for name in ("original/x.safetensors", "model.safetensors", "notes.txt"):
        bucket.put_object(Bucket="weights", Key=f"{PREFIX}/{name}", Body=FILES.get(name, b"twice"))
    manifest = {"model": "org/m", "revision": REVISION, "bytes": 1}  # of a version without rules
    bucket.put_object(Bucket="weights", Key=f"{PREFIX}/{MANIFEST}", Body=json.dumps(manifest).encode())
    lines = copy(bucket, hub)
    assert lines[1] == "original/x.safetensors: removed, the engine would read it beside the weights"
    assert keys(bucket) == ["config.json", "model.safetensors", "notes.txt", MANIFEST]


def test_weights_in_the_prefix_that_are_none_of_the_revision_are_refused_and_left_alone(hub):
    bucket = Bucket()
    bucket.put_object(Bucket="weights", Key=f"{PREFIX}/mine.safetensors", Body=b"mine")
    with pytest.raises(IngestError, match=rf"^s3://weights/{PREFIX}/mine.safetensors: is no file of org/m@"):
        copy(bucket, hub)
    assert keys(bucket) == ["mine.safetensors"]


@pytest.mark.parametrize(
    ("model", "revision", "line"),
    [
        ("org/m", "main", "'main' is not a commit"),
        ("org/m", "0E9E39F249A16976918F6564B8830BC894C89659", "is not a commit"),
        ("../m", REVISION, r"model: '../m' is no name of the hub"),
        ("org/other", REVISION, r"no such model, revision or file \(404\)"),
    ],
)
def test_what_is_no_model_at_a_commit_is_refused_in_one_line(hub, model, revision, line):
    with pytest.raises(IngestError, match=line) as error:
        copy(Bucket(), hub, model=model, revision=revision)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["../x.json", "/etc/x.json", "a/../../x.json", "a\\x.json", "a\n.json", ""])
def test_a_listed_path_that_could_leave_the_prefix_ends_the_run(hub, path):
    hub.rows = [{"type": "file", "path": path, "size": 1, "oid": "0" * 40}]
    with pytest.raises(IngestError, match=r"hub: lists the path .* limit: a path below the model's folder"):
        copy(Bucket(), hub)


@pytest.mark.parametrize("body", [b"<html>", b'{"error": "x"}', b"[1]", b"[" * 100_000])
def test_an_answer_that_is_no_listing_is_one_line(hub, body):
    hub.script[LISTING] = [(200, {}, body)]
    with pytest.raises(IngestError, match="the hub's answer is no listing of files"):
        copy(Bucket(), hub)


def test_a_prefix_that_holds_another_model_is_left_alone(hub):
    bucket = Bucket()
    manifest = b'{"model": "org/x", "revision": "y", "bytes": 1}'
    bucket.put_object(Bucket="weights", Key=f"{PREFIX}/{MANIFEST}", Body=manifest)
    with pytest.raises(IngestError, match="holds org/x@y; hint: use another prefix"):
        copy(bucket, hub)


def test_the_client_of_s3_takes_every_call_and_holds_what_was_copied(hub, monkeypatch):
    boto3, mock_aws = pytest.importorskip("boto3"), pytest.importorskip("moto").mock_aws
    weights = os.urandom(11 * 2**20)
    hub.files["model.safetensors"] = hub.listed["model.safetensors"] = weights
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="weights")
        copy(client, hub, part=5 * 2**20)
        head = client.head_object(Bucket="weights", Key=f"{PREFIX}/model.safetensors")
        assert head["Metadata"] == {"tonnage-digest": f"sha256:{hashlib.sha256(weights).hexdigest()}"}
        assert client.get_object(Bucket="weights", Key=f"{PREFIX}/model.safetensors")["Body"].read() == weights
        client.delete_object(Bucket="weights", Key=f"{PREFIX}/{MANIFEST}")
        assert "2/2 model.safetensors 11534336 bytes was there" in copy(client, hub)
        hub.files["model.safetensors"] = weights[:-1] + b"!"
        client.delete_object(Bucket="weights", Key=f"{PREFIX}/model.safetensors")
        client.delete_object(Bucket="weights", Key=f"{PREFIX}/{MANIFEST}")
        with pytest.raises(IngestError, match="damaged 3 times"):
            copy(client, hub, part=5 * 2**20)
        assert [one["Key"] for one in client.list_objects_v2(Bucket="weights")["Contents"]] == [f"{PREFIX}/config.json"]
        assert "Uploads" not in client.list_multipart_uploads(Bucket="weights")


JOB = """
import boto3, sys
from runtime import ingest

class Missing(Exception):
    response = {"Error": {"Code": "404"}}

class Bucket:
    begun, aborted = 0, 0
    def head_object(self, **place): raise Missing
    get_object = head_object
    def list_objects_v2(self, **place): return {}
    def put_object(self, **place): pass
    def upload_part(self, **place): return {"ETag": "e"}
    def create_multipart_upload(self, **place):
        self.begun += 1
        return {"UploadId": "u"}
    def abort_multipart_upload(self, **place): self.aborted += 1

bucket = Bucket()
boto3.client = lambda name: bucket
try:
    code = ingest.main()
finally:
    print(bucket.begun, "begun", bucket.aborted, "aborted")
sys.exit(code)
"""


def start(folder, hub, deadline="60"):
    """Start the job from the files of its image, with a bucket that keeps nothing."""
    arguments = ["--model", "org/m", "--revision", REVISION, "--prefix", PREFIX, "--bucket", "weights"]
    env = {"PYTHONPATH": str(lay_out("tools", folder)), "HF_ENDPOINT": hub.address, "HF_TOKEN": TOKEN}
    env["TONNAGE_INGEST_DEADLINE_S"] = deadline
    command = [sys.executable, "-c", JOB, *arguments]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("code", "exit_code", "line"),
    [
        (403, 2, "no access, the account of HF_TOKEN may not read it (403); hint: accept the licence at the hub"),
        (429, 1, "too many requests (429), and 30 s more are past the limit of 5 s; hint: run again"),
    ],
)
def test_a_refusal_ends_the_job_for_good_and_a_deadline_does_not(tmp_path, hub, code, exit_code, line):
    hub.script[LISTING] = [(code, {"Retry-After": "30"}, b"")]
    job = start(tmp_path, hub, "5")
    out, err = job.communicate(timeout=30)
    assert (job.returncode, err.count("\n")) == (exit_code, 1)
    assert line in err
    assert TOKEN not in out + err


def test_a_job_that_is_told_to_leave_aborts_the_upload_that_has_begun(tmp_path, hub):
    hub.listed["model.safetensors"] = hub.files["model.safetensors"] = bytes(70 * 2**20)
    hub.cuts["model.safetensors"] = [66 * 2**20]  # it waits at least half a second then
    job = start(tmp_path, hub)
    wait_for(lambda: any(path.endswith("model.safetensors") for path, _, _ in hub.seen), 30)
    job.send_signal(signal.SIGTERM)
    out, _ = job.communicate(timeout=30)
    assert job.returncode == 143
    assert out.endswith("\n1 begun 1 aborted\n")


@pytest.mark.parametrize("deadline", ["", "soon", "-1", "nan", "inf"])
def test_a_deadline_that_is_none_is_refused(tmp_path, hub, deadline):
    job = start(tmp_path, hub, deadline)
    _, err = job.communicate(timeout=30)
    assert (job.returncode, hub.seen) == (2, [])
    assert f"argument --deadline-s: invalid seconds value: '{deadline}'" in err
