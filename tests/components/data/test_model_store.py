"""Who may read and write which weights, and how they get there."""

import json
from dataclasses import replace

import pulumi
import pytest

from components.data.model_store import documents
from components.data.model_store.component import ModelStore, ModelStoreArgs, StoredModel
from components.data.model_store.ingest import IngestJobsArgs, ingest_jobs
from runtime.tools import ingest as program
from sizing.errors import BadInput
from sizing.serving.ingest import ingest
from tests.support.golden import assert_golden
from tests.support.plans import vector_store_plan

CHAT = StoredModel(
    name="chat",
    model="meta-llama/Llama-3.1-8B-Instruct",
    revision="0e9e39f2",
    weights_bytes=16 * 10**9,
    ingest=ingest(16 * 10**9),
)
LARGE = replace(CHAT, name="large", model="meta-llama/Llama-3.3-70B-Instruct", revision="6f6073b4")
PREFIX = "models/meta-llama/Llama-3.1-8B-Instruct/0e9e39f2"
ARGS = ModelStoreArgs(
    cluster_name="tonnage-dev",
    cluster_arn="arn:aws:eks:us-east-1:123456789012:cluster/tonnage-dev",
    namespace="serving",
    models=(CHAT, LARGE),
    image="tools@sha256:" + "a" * 64,
    region="us-east-1",
    hub_secret_arn="arn:aws:secretsmanager:us-east-1:123456789012:secret:tonnage/dev/hub-AbCdEf",
    tags={"tonnage:stack": "dev"},
)


def record(engine, **changes):
    return engine.run(lambda: ModelStore("models", replace(ARGS, **changes)))


def statements(recording, name):
    return json.loads(recording.one("aws:iam/rolePolicy:RolePolicy", name).props["policy"])["Statement"]


def test_the_bucket_is_private_versioned_encrypted_and_tls_only(engine):
    recording = record(engine)
    assert recording.one("aws:s3/bucket:Bucket").props["bucket"] == "tonnage-dev-models-123456789012-us-east-1"
    block = recording.one("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock").props
    flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    assert [block[flag] for flag in flags] == [True] * 4
    assert recording.one("aws:s3/bucketVersioning:BucketVersioning").props["versioningConfiguration"] == {
        "status": "Enabled"
    }
    (statement,) = json.loads(recording.one("aws:s3/bucketPolicy:BucketPolicy").props["policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_a_models_pods_read_their_own_prefix_only(engine):
    read, listed = statements(record(engine), "models-read-chat")
    bucket = "arn:aws:s3:::tonnage-dev-models-123456789012-us-east-1"
    assert (read["Action"], read["Resource"]) == (["s3:GetObject"], [f"{bucket}/{PREFIX}/*"])
    assert listed["Condition"] == {"StringLike": {"s3:prefix": [PREFIX, f"{PREFIX}/*"]}}


def test_reader_roles_belong_to_the_service_accounts_of_serving(engine):
    association = record(engine).one("aws:eks/podIdentityAssociation:PodIdentityAssociation", "models-read-chat").props
    assert (association["namespace"], association["serviceAccount"]) == ("serving", "chat")


def test_only_the_ingest_job_writes_models(engine):
    recording = record(engine, snapshots={"vectors": "qdrant"})
    writers = {
        each.name
        for each in recording.resources
        if each.type == "aws:iam/rolePolicy:RolePolicy" and "s3:PutObject" in each.props["policy"]
    }
    assert writers == {"models-ingest", "models-snapshots-vectors"}
    (write,) = [each for each in statements(recording, "models-snapshots-vectors") if "s3:PutObject" in each["Action"]]
    assert write["Resource"] == ["arn:aws:s3:::tonnage-dev-models-123456789012-us-east-1/snapshots/vectors/*"]


def test_the_ingest_job_is_the_committed_one():
    job = documents.ingest_job(CHAT, image="tools", bucket="bucket", region="us-east-1", hub_secret="model-hub")
    assert_golden("model_ingest", job)


def test_a_job_stays_when_it_has_ended_and_is_made_anew_where_it_has_failed(engine):
    job = record(engine).one("kubernetes:batch/v1:Job", "models-chat").props
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert job["metadata"]["annotations"] == {"pulumi.com/replaceUnready": "true"}


def test_the_hub_token_is_a_reference_and_never_text(engine):
    job = record(engine).one("kubernetes:batch/v1:Job", "models-chat").props
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (token,) = [each for each in container["env"] if each["name"] == "HF_TOKEN"]
    assert token == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "model-hub", "key": "HF_TOKEN"}}}


def test_without_a_hub_secret_there_is_no_token_and_no_external_secret(engine):
    recording = record(engine, hub_secret_arn=None)
    assert not [each for each in recording.resources if each.type.endswith(":ExternalSecret")]
    job = recording.one("kubernetes:batch/v1:Job", "models-chat").props
    names = [each["name"] for each in job["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert names == ["AWS_REGION", "TONNAGE_BUCKET", "TONNAGE_INGEST_DEADLINE_S"]


def test_two_services_of_one_revision_share_one_copy(engine):
    recording = record(engine, models=(CHAT, replace(CHAT, name="chat-batch")))
    assert [each.name for each in recording.resources if each.type == "kubernetes:batch/v1:Job"] == ["models-chat"]
    assert "models-read-chat-batch" in {each.name for each in recording.resources}


def test_a_bucket_name_stays_within_63_characters():
    name = documents.bucket_name("tonnage-" + "x" * 60, "models", ARGS.cluster_arn)
    assert len(name) == 63
    assert name.endswith("-123456789012-us-east-1")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"models": (CHAT, CHAT)}, "modelStore.models.chat: is listed twice"),
        ({"models": (replace(CHAT, revision=""),)}, "has no revision"),
        ({"models": (replace(CHAT, weights_bytes=0),)}, "weights of 0 bytes"),
        ({"models": "chat"}, "'chat' is not a list"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_registered(changes, line):
    with pytest.raises(BadInput) as caught:
        replace(ARGS, **changes)
    assert line in caught.value.line()


def test_roles_of_models_with_long_names_are_told_apart():
    long = "tonnage-production-europe-models-read-llama-3-3-70b-instruct-"
    names = {documents.role_name(long + end) for end in ("english", "german", "")}
    assert len(names) == 3
    assert max(len(name) for name in names) <= 64


def test_snapshots_leave_the_bucket_after_the_days_of_the_plan(engine):
    plan = vector_store_plan(snapshot_days=7, snapshot_version_days=2)
    rules = (
        record(engine, snapshots={"vectors": "qdrant"}, snapshots_of=plan)
        .one("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration")
        .props["rules"]
    )
    (rule,) = [one for one in rules if one["id"] == "snapshots"]
    assert rule["filter"]["prefix"] == "snapshots/"
    assert rule["expiration"]["days"] == 7
    assert rule["noncurrentVersionExpiration"]["noncurrentDays"] == 2
    assert [
        one["id"]
        for one in record(engine).one("aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration").props["rules"]
    ] == ["leftovers"]


def test_a_cluster_without_aws_takes_the_ingest_jobs_alone(engine):
    args = IngestJobsArgs(
        namespace="serving", models=(CHAT,), image=ARGS.image, bucket="weights", region="us-east-1", hub_secret=None,
        hub_secret_key=None, secret_store="vault", https_egress_cidrs=("10.0.0.0/8",),
    )  # fmt: skip
    recording = engine.run(lambda: ingest_jobs("models", args, after=(), opts=pulumi.ResourceOptions()))
    kinds = {each.type for each in recording.resources if each.type != "pulumi:pulumi:Stack"}
    assert kinds == {
        "kubernetes:batch/v1:Job", "kubernetes:core/v1:ServiceAccount", "kubernetes:networking.k8s.io/v1:NetworkPolicy"
    }  # fmt: skip


def test_a_copy_that_nothing_can_help_ends_its_job_and_one_that_waits_says_so_before_the_job_ends():
    model = replace(LARGE, weights_bytes=200 * 10**9, ingest=ingest(200 * 10**9))
    job = documents.ingest_job(model, image="tools", bucket="b", region="us-east-1", hub_secret=None)
    (rule,) = job["podFailurePolicy"]["rules"]
    exits = {"containerName": "ingest", "operator": "In", "values": [program.FINAL]}
    assert rule == {"action": "FailJob", "onExitCodes": exits}
    (container,) = job["template"]["spec"]["containers"]
    (waited,) = [each["value"] for each in container["env"] if each["name"] == "TONNAGE_INGEST_DEADLINE_S"]
    assert int(waited) == model.ingest.copy_deadline_s < job["activeDeadlineSeconds"]
