"""The half of the model store that AWS holds: the bucket, and one identity for each that reads or writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from components.common.pod_identity import PodIdentity, pod_identity
from components.common.tags import named
from components.data.model_store import documents
from components.data.model_store.documents import StoredModel
from components.data.model_store.policy import bucket_policy, ingest_policy, reader_policy, snapshot_policy
from sizing.plan import VectorStorePlan


class ModelBucket:
    """A private, versioned, encrypted bucket; its resources are children of ``opts.parent``.

    ``guards`` is what must be there before anything is written: no public access, TLS, encryption, versions.
    """

    bucket: aws.s3.Bucket
    guards: list[pulumi.Resource]

    def __init__(
        self,
        name: str,
        *,
        cluster_name: pulumi.Input[str],
        cluster_arn: pulumi.Input[str],
        namespace: str,
        tags: Mapping[str, str],
        kms_key_arn: str | None,
        force_destroy: bool,
        snapshots_of: VectorStorePlan | None,
        permissions_boundary: str | None,
        opts: pulumi.ResourceOptions,
    ) -> None:
        self._name, self._tags, self._child = name, tags, opts
        self._permissions_boundary = permissions_boundary
        self._cluster_name, self._cluster_arn, self._namespace = cluster_name, cluster_arn, namespace
        self.bucket = aws.s3.Bucket(
            name,
            bucket=pulumi.Output.all(cluster_name, cluster_arn).apply(
                lambda known: documents.bucket_name(known[0], name, known[1])
            ),
            force_destroy=force_destroy,
            tags=named(tags, name),
            opts=opts,
        )
        self.guards = [
            self._private(),
            self._encrypted(kms_key_arn),
            self._versioned(snapshots_of),
        ]

    def reader(self, model: StoredModel) -> PodIdentity:
        """Register the identity that reads the weights of one model."""
        policy = self.bucket.arn.apply(lambda arn: reader_policy(arn, model.prefix))
        return self._identity(f"read-{model.name}", model.reader, policy)

    def snapshot_writer(self, store: str, account: str) -> PodIdentity:
        """Register the identity that writes snapshots of the vector store ``store``."""
        policy = self.bucket.arn.apply(lambda arn: snapshot_policy(arn, store))
        return self._identity(f"snapshots-{store}", account, policy)

    def ingest(self, prefixes: Sequence[str]) -> PodIdentity:
        """Register the identity of the jobs that write weights under ``prefixes``."""
        policy = self.bucket.arn.apply(lambda arn: ingest_policy(arn, prefixes))
        return self._identity("ingest", documents.INGEST_SERVICE_ACCOUNT, policy)

    def _identity(self, suffix: str, account: str, policy: pulumi.Input[str]) -> PodIdentity:
        name = f"{self._name}-{suffix}"
        return pod_identity(
            name,
            role_name=pulumi.Output.concat(self._cluster_name, "-", name).apply(documents.role_name),
            cluster_name=self._cluster_name,
            cluster_arn=self._cluster_arn,
            namespace=self._namespace,
            service_account=account,
            policy=policy,
            permissions_boundary=self._permissions_boundary,
            tags=self._tags,
            opts=self._child,
        )

    def _after(self, *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self._child.parent, depends_on=list(needed))

    def _private(self) -> pulumi.Resource:
        block = aws.s3.BucketPublicAccessBlock(
            f"{self._name}-private",
            bucket=self.bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._child,
        )
        # S3 refuses two changes of access to one bucket at once, so one waits for the other.
        return aws.s3.BucketPolicy(
            f"{self._name}-tls",
            bucket=self.bucket.id,
            policy=self.bucket.arn.apply(bucket_policy),
            opts=self._after(block),
        )

    def _encrypted(self, key: str | None) -> pulumi.Resource:
        return aws.s3.BucketServerSideEncryptionConfiguration(
            f"{self._name}-encryption",
            bucket=self.bucket.id,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                        sse_algorithm="aws:kms" if key else "AES256", kms_master_key_id=key
                    ),
                    bucket_key_enabled=key is not None,
                )
            ],
            opts=self._child,
        )

    def _versioned(self, snapshots_of: VectorStorePlan | None) -> pulumi.Resource:
        versioning = aws.s3.BucketVersioning(
            f"{self._name}-versions",
            bucket=self.bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self._child,
        )
        return aws.s3.BucketLifecycleConfiguration(
            f"{self._name}-lifecycle",
            bucket=self.bucket.id,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="leftovers",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=documents.INCOMPLETE_UPLOAD_DAYS
                    ),
                    noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                        noncurrent_days=documents.OLD_VERSION_DAYS
                    ),
                ),
                *([_snapshots_end(snapshots_of)] if snapshots_of else []),
            ],
            opts=self._after(versioning),
        )


def _snapshots_end(plan: VectorStorePlan) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    """Return the rule that removes snapshots of vector stores; each has a key of its own, so they would pile up."""
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id="snapshots",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix="snapshots/"),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=plan.snapshot_days),
        noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=plan.snapshot_version_days
        ),
    )
