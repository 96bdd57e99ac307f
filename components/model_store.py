"""The model store: an S3 bucket, one identity per reader, one ingest job per revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from sizing.errors import BadInput

from .arguments import require_list, require_tags, require_text
from .documents import model_store as document
from .documents.iam import assume_role_by_pods
from .documents.kubernetes import labels, stored_secret
from .documents.model_store import StoredModel
from .documents.tags import named

__all__ = ["ModelStore", "ModelStoreArgs", "StoredModel"]


@dataclass(frozen=True, kw_only=True)
class ModelStoreArgs:
    """Which models are kept and who reads them.

    ``image`` is the tools image by digest. ``hub_secret_arn`` names a Secrets Manager entry with the property
    ``HF_TOKEN``; it reaches the job as a Secret through ``secret_store``, never as text. ``snapshots`` maps vector
    stores to the service accounts of their snapshot jobs. ``kms_key_arn`` encrypts with that key instead of S3's.
    """

    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    namespace: str
    models: tuple[StoredModel, ...]
    image: pulumi.Input[str]
    region: str
    tags: Mapping[str, str]
    hub_secret_arn: str | None = None
    secret_store: str = "aws-secrets-manager"  # noqa: S105 - the name of the store
    snapshots: Mapping[str, str] = field(default_factory=dict)
    kms_key_arn: str | None = None
    https_egress_cidrs: tuple[str, ...] = ("0.0.0.0/0",)
    force_destroy: bool = False

    def __post_init__(self) -> None:
        """Refuse models without revision or size, and bad lists."""
        require_text("modelStore.namespace", self.namespace)
        require_text("modelStore.region", self.region)
        require_tags("modelStore.tags", self.tags)
        require_list("modelStore.httpsEgressCidrs", self.https_egress_cidrs)
        if not isinstance(self.models, (list, tuple)):
            raise BadInput("modelStore.models", f"{self.models!r} is not a list", way_out="give StoredModel entries")
        document.check_models(self.models)


class ModelStore(pulumi.ComponentResource):
    """A private, versioned, encrypted bucket. ``ready`` is what serving waits for: every revision is complete."""

    bucket: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]
    reader_role_arns: dict[str, pulumi.Output[str]]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: ModelStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:ModelStore", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        bucket, guards = self._bucket()
        self.bucket, self.bucket_arn = bucket.bucket, bucket.arn
        self.reader_role_arns, identities = self._readers()
        for store, account in sorted(args.snapshots.items()):
            identities += self._snapshot_writer(store, account)[1]
        ingest = [*guards, *self._ingest_access()]
        self.ready = [*identities, *[self._job(model, ingest) for model in document.distinct(args.models)]]
        self.register_outputs(
            {"bucket": self.bucket, "bucketArn": self.bucket_arn, "readerRoleArns": self.reader_role_arns}
        )

    def _bucket(self) -> tuple[aws.s3.Bucket, list[pulumi.Resource]]:
        args = self._args
        physical = pulumi.Output.all(args.cluster_name, args.cluster_arn).apply(
            lambda known: document.bucket_name(known[0], self._name, known[1])
        )
        bucket = aws.s3.Bucket(
            self._name,
            bucket=physical,
            force_destroy=args.force_destroy,
            tags=named(args.tags, self._name),
            opts=self._child,
        )
        return bucket, [self._private(bucket), self._encrypted(bucket), self._versioned(bucket)]

    def _private(self, bucket: aws.s3.Bucket) -> pulumi.Resource:
        block = aws.s3.BucketPublicAccessBlock(
            f"{self._name}-private",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._child,
        )
        # S3 refuses two changes of access to one bucket at once, so one waits for the other.
        return aws.s3.BucketPolicy(
            f"{self._name}-tls",
            bucket=bucket.id,
            policy=bucket.arn.apply(document.bucket_policy),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[block]),
        )

    def _encrypted(self, bucket: aws.s3.Bucket) -> pulumi.Resource:
        key = self._args.kms_key_arn
        return aws.s3.BucketServerSideEncryptionConfiguration(
            f"{self._name}-encryption",
            bucket=bucket.id,
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

    def _versioned(self, bucket: aws.s3.Bucket) -> pulumi.Resource:
        versioning = aws.s3.BucketVersioning(
            f"{self._name}-versions",
            bucket=bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self._child,
        )
        days = document.lifecycle()
        return aws.s3.BucketLifecycleConfiguration(
            f"{self._name}-lifecycle",
            bucket=bucket.id,
            rules=[
                aws.s3.BucketLifecycleConfigurationRuleArgs(
                    id="leftovers",
                    status="Enabled",
                    filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=""),
                    abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                        days_after_initiation=days["incomplete_upload_days"]
                    ),
                    noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                        noncurrent_days=days["old_version_days"]
                    ),
                ),
                *([_snapshots_end(days)] if self._args.snapshots else []),
            ],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[versioning]),
        )

    def _identity(
        self, suffix: str, account: str, policy: pulumi.Input[str]
    ) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        """Register role, policy and Pod Identity association of one service account of the namespace."""
        args, name = self._args, f"{self._name}-{suffix}"
        role = aws.iam.Role(
            name,
            name=pulumi.Output.concat(args.cluster_name, "-", name).apply(document.role_name),
            assume_role_policy=pulumi.Output.from_input(args.cluster_arn).apply(
                lambda arn: assume_role_by_pods(arn, args.namespace)
            ),
            tags=named(args.tags, name),
            opts=self._child,
        )
        allowed = aws.iam.RolePolicy(name, role=role.name, policy=policy, opts=self._child)
        association = aws.eks.PodIdentityAssociation(
            name,
            cluster_name=args.cluster_name,
            namespace=args.namespace,
            service_account=account,
            role_arn=role.arn,
            tags=dict(args.tags),
            opts=self._child,
        )
        return role, [allowed, association]

    def _readers(self) -> tuple[dict[str, pulumi.Output[str]], list[pulumi.Resource]]:
        arns: dict[str, pulumi.Output[str]] = {}
        needed: list[pulumi.Resource] = []
        for model in sorted(self._args.models, key=lambda each: each.name):
            prefix = model.prefix
            policy = self.bucket_arn.apply(lambda arn, prefix=prefix: document.reader_policy(arn, prefix))
            role, resources = self._identity(f"read-{model.name}", model.reader, policy)
            arns[model.name] = role.arn
            needed += resources
        return arns, needed

    def _snapshot_writer(self, store: str, account: str) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        policy = self.bucket_arn.apply(lambda arn: document.snapshot_policy(arn, store))
        return self._identity(f"snapshots-{store}", account, policy)

    def _metadata(self, name: str) -> dict[str, object]:
        return {"name": name, "namespace": self._args.namespace, "labels": labels(name, document.COMPONENT)}

    def _ingest_access(self) -> list[pulumi.Resource]:
        """Register what every ingest job needs: identity, way out, the hub's token."""
        prefixes = [model.prefix for model in document.distinct(self._args.models)]
        policy = self.bucket_arn.apply(lambda arn: document.ingest_policy(arn, prefixes))
        account_name = document.INGEST_SERVICE_ACCOUNT
        _, identity = self._identity("ingest", account_name, policy)
        account = kubernetes.core.v1.ServiceAccount(
            f"{self._name}-ingest",
            metadata=self._metadata(account_name),
            automount_service_account_token=False,
            opts=self._child,
        )
        network = kubernetes.networking.v1.NetworkPolicy(
            f"{self._name}-ingest",
            metadata=self._metadata(account_name),
            spec=document.ingest_network_policy(self._args.https_egress_cidrs),
            opts=self._child,
        )
        return [*identity, account, network, *self._hub_secret()]

    def _hub_secret(self) -> Sequence[pulumi.Resource]:
        args = self._args
        if args.hub_secret_arn is None:
            return []
        secret = kubernetes.apiextensions.CustomResource(
            f"{self._name}-hub",
            api_version="external-secrets.io/v1",
            kind="ExternalSecret",
            metadata=self._metadata(document.HUB_SECRET),
            spec=stored_secret(document.HUB_SECRET, args.secret_store, args.hub_secret_arn),
            opts=self._child,
        )
        return [secret]

    def _job(self, model: StoredModel, after: Sequence[pulumi.Resource]) -> kubernetes.batch.v1.Job:
        args, seconds = self._args, document.deadline_s(model.weights_bytes)
        return kubernetes.batch.v1.Job(
            f"{self._name}-{model.name}",
            metadata=self._metadata(document.job_name(model)),
            spec=document.ingest_job(
                model,
                image=args.image,
                bucket=self.bucket,
                region=args.region,
                hub_secret=document.hub_secret_name(args.hub_secret_arn),
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(after),
                custom_timeouts=pulumi.CustomTimeouts(create=f"{seconds}s", update=f"{seconds}s"),
            ),
        )


def _snapshots_end(days: Mapping[str, int]) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    """Return the rule that removes snapshots of vector stores; each has a key of its own, so they would pile up."""
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id="snapshots",
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix="snapshots/"),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days["snapshot_days"]),
        noncurrent_version_expiration=aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
            noncurrent_days=days["snapshot_version_days"]
        ),
    )
