"""IAM of the model store: what readers, ingest jobs and snapshot jobs may do with the bucket."""

from __future__ import annotations

from collections.abc import Sequence

from components.common.iam import Statement, allow, deny, policy


def bucket_policy(bucket_arn: str) -> str:
    """Return the bucket's policy: nothing without TLS."""
    plain = deny("OnlyTls", ["s3:*"], [bucket_arn, f"{bucket_arn}/*"], Bool={"aws:SecureTransport": "false"})
    return policy([{**plain, "Principal": "*"}])


def reader_policy(bucket_arn: str, prefix: str) -> str:
    """Return what one model's pods may do: read the files of their prefix, and list it."""
    return policy(_read(bucket_arn, prefix))


def ingest_policy(bucket_arn: str, prefixes: Sequence[str]) -> str:
    """Return what the ingest job may do: write the prefixes of the plan and remove a damaged copy."""
    objects = [f"{bucket_arn}/{prefix}/*" for prefix in prefixes]
    actions = ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")
    return policy(
        [
            allow("WriteModels", actions, objects),
            # Of the whole bucket: with a condition on the prefix a missing file answers 403, and the job expects 404.
            allow("ListBucket", ["s3:ListBucket"], bucket_arn),
        ]
    )


def snapshot_policy(bucket_arn: str, store: str) -> str:
    """Return what the snapshot job of a vector store may do: write and read its own snapshots."""
    prefix = f"snapshots/{store}"
    write = allow("WriteSnapshots", ("s3:AbortMultipartUpload", "s3:PutObject"), f"{bucket_arn}/{prefix}/*")
    return policy([*_read(bucket_arn, prefix), write])


def _read(bucket_arn: str, prefix: str) -> list[Statement]:
    return [
        allow("ReadPrefix", ["s3:GetObject"], f"{bucket_arn}/{prefix}/*"),
        allow("ListPrefix", ["s3:ListBucket"], bucket_arn, StringLike={"s3:prefix": [prefix, f"{prefix}/*"]}),
    ]
