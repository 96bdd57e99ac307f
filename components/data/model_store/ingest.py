"""The half of the model store that any cluster can take: jobs that fill a bucket, with account, network and token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from components.common.kubernetes import EXTERNAL_SECRETS_API, Document, labels, seconds, stored_secret
from components.data.model_store import documents
from components.data.model_store.documents import StoredModel


@dataclass(frozen=True, kw_only=True)
class IngestJobsArgs:
    """Which models are copied, from where to where.

    ``image`` is the tools image by digest, ``bucket`` a name that its account may write. ``hub_secret`` names the
    Secret with the hub's token, ``hub_secret_key`` the entry of ``secret_store`` that it is copied from; none for open
    models.
    """

    namespace: str
    models: tuple[StoredModel, ...]
    image: pulumi.Input[str]
    bucket: pulumi.Input[str]
    region: str
    hub_secret: str | None
    hub_secret_key: str | None
    secret_store: str
    https_egress_cidrs: tuple[str, ...]


def ingest_jobs(
    name: str, args: IngestJobsArgs, *, after: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[kubernetes.batch.v1.Job]:
    """Register one job for each revision, which ends when it is complete; ``after`` is what lets them write."""
    access = _access(name, args, opts)
    return [_job(name, model, args, [*after, *access], opts) for model in documents.distinct(args.models)]


def _metadata(args: IngestJobsArgs, name: str) -> Document:
    return {"name": name, "namespace": args.namespace, "labels": labels(name, documents.COMPONENT)}


def _access(name: str, args: IngestJobsArgs, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    """Register what every job needs of the cluster: account, way out, the hub's token."""
    account_name = documents.INGEST_SERVICE_ACCOUNT
    account = kubernetes.core.v1.ServiceAccount(
        f"{name}-ingest",
        metadata=_metadata(args, account_name),
        automount_service_account_token=False,
        opts=opts,
    )
    network = kubernetes.networking.v1.NetworkPolicy(
        f"{name}-ingest",
        metadata=_metadata(args, account_name),
        spec=documents.ingest_network_policy(args.https_egress_cidrs),
        opts=opts,
    )
    return [account, network, *_hub_secret(name, args, opts)]


def _hub_secret(name: str, args: IngestJobsArgs, opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
    if args.hub_secret_key is None:
        return []
    secret = kubernetes.apiextensions.CustomResource(
        f"{name}-hub",
        api_version=EXTERNAL_SECRETS_API,
        kind="ExternalSecret",
        metadata=_metadata(args, documents.HUB_SECRET),
        spec=stored_secret(documents.HUB_SECRET, args.secret_store, args.hub_secret_key),
        opts=opts,
    )
    return [secret]


def _job(
    name: str,
    model: StoredModel,
    args: IngestJobsArgs,
    after: Sequence[pulumi.Resource],
    opts: pulumi.ResourceOptions,
) -> kubernetes.batch.v1.Job:
    deadline = seconds(model.ingest.deadline_s)
    return kubernetes.batch.v1.Job(
        f"{name}-{model.name}",
        metadata={**_metadata(args, documents.job_name(model)), "annotations": documents.TRY_AGAIN},
        spec=documents.ingest_job(
            model, image=args.image, bucket=args.bucket, region=args.region, hub_secret=args.hub_secret
        ),
        opts=pulumi.ResourceOptions(
            parent=opts.parent,
            depends_on=list(after),
            custom_timeouts=pulumi.CustomTimeouts(create=deadline, update=deadline),
        ),
    )
