"""The model store on AWS: the bucket with its readers, and the jobs that fill it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi

from components.common.arguments import require_list, require_tags, require_text
from components.common.well_known import EVERYWHERE, SECRET_STORE
from components.data.model_store import documents
from components.data.model_store.bucket import ModelBucket
from components.data.model_store.documents import StoredModel
from components.data.model_store.ingest import IngestJobsArgs, ingest_jobs
from sizing.errors import BadInput
from sizing.plan import VectorStorePlan

__all__ = ["ModelStore", "ModelStoreArgs", "StoredModel"]


@dataclass(frozen=True, kw_only=True)
class ModelStoreArgs:
    """Which models are kept and who reads them.

    ``image`` is the tools image by digest. ``hub_secret_arn`` names a Secrets Manager entry with the property
    ``HF_TOKEN``; it reaches the job as a Secret through ``secret_store``, never as text. ``snapshots`` maps vector
    stores to the service accounts of their snapshot jobs; ``snapshots_of`` says for how many days they are kept.
    ``kms_key_arn`` encrypts with that key instead of S3's.
    """

    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    namespace: str
    models: tuple[StoredModel, ...]
    image: pulumi.Input[str]
    region: str
    tags: Mapping[str, str]
    hub_secret_arn: str | None = None
    secret_store: str = SECRET_STORE
    snapshots: Mapping[str, str] = field(default_factory=dict)
    snapshots_of: VectorStorePlan | None = None
    kms_key_arn: str | None = None
    https_egress_cidrs: tuple[str, ...] = EVERYWHERE
    force_destroy: bool = False
    permissions_boundary: str | None = None

    def __post_init__(self) -> None:
        """Refuse models without revision or size, and bad lists."""
        require_text("modelStore.namespace", self.namespace)
        require_text("modelStore.region", self.region)
        require_tags("modelStore.tags", self.tags)
        require_list("modelStore.httpsEgressCidrs", self.https_egress_cidrs)
        if not isinstance(self.models, (list, tuple)):
            raise BadInput("modelStore.models", f"{self.models!r} is not a list", way_out="give StoredModel entries")
        documents.check_models(self.models)


class ModelStore(pulumi.ComponentResource):
    """A private, versioned, encrypted bucket. ``ready`` is what serving waits for: every revision is complete."""

    bucket: pulumi.Output[str]
    bucket_arn: pulumi.Output[str]
    reader_role_arns: dict[str, pulumi.Output[str]]
    ready: list[pulumi.Resource]

    def __init__(self, name: str, args: ModelStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:ModelStore", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        store = ModelBucket(
            name,
            cluster_name=args.cluster_name,
            cluster_arn=args.cluster_arn,
            namespace=args.namespace,
            tags=args.tags,
            kms_key_arn=args.kms_key_arn,
            permissions_boundary=args.permissions_boundary,
            force_destroy=args.force_destroy,
            snapshots_of=args.snapshots_of,
            opts=child,
        )
        self.bucket, self.bucket_arn = store.bucket.bucket, store.bucket.arn
        readers = {model.name: store.reader(model) for model in sorted(args.models, key=lambda each: each.name)}
        self.reader_role_arns = {model: identity.role.arn for model, identity in readers.items()}
        writers = [store.snapshot_writer(vectors, account) for vectors, account in sorted(args.snapshots.items())]
        ingest = store.ingest([model.prefix for model in documents.distinct(args.models)])
        jobs = ingest_jobs(name, _jobs(args, self.bucket), after=(*store.guards, *ingest.ready), opts=child)
        used = [resource for identity in (*readers.values(), *writers) for resource in identity.ready]
        self.ready = [*used, *jobs]
        self.register_outputs(
            {"bucket": self.bucket, "bucketArn": self.bucket_arn, "readerRoleArns": self.reader_role_arns}
        )


def _jobs(args: ModelStoreArgs, bucket: pulumi.Output[str]) -> IngestJobsArgs:
    return IngestJobsArgs(
        namespace=args.namespace,
        models=args.models,
        image=args.image,
        bucket=bucket,
        region=args.region,
        hub_secret=documents.hub_secret_name(args.hub_secret_arn),
        hub_secret_key=args.hub_secret_arn,
        secret_store=args.secret_store,
        https_egress_cidrs=args.https_egress_cidrs,
    )
