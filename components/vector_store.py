"""The vector store beside the models: Qdrant, sized by the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from components.documents import vector_store as documents
from components.documents.kubernetes import generated_key_secret, generated_password, labels
from sizing.plan import VectorStorePlan


@dataclass(frozen=True, kw_only=True)
class VectorStoreArgs:
    """What the vector store needs.

    ``image`` is Qdrant by digest, ``snapshot_image`` the ``tools`` target of runtime/Dockerfile by digest,
    ``snapshot_bucket`` an existing bucket. ``service_account`` is what the Pod Identity association of the snapshot
    writer names. ``client_namespaces`` may connect; by default only the store's own namespace.
    """

    plan: VectorStorePlan
    namespace: str
    image: pulumi.Input[str]
    snapshot_image: pulumi.Input[str]
    snapshot_bucket: pulumi.Input[str]
    region: str
    api_key_secret: str = "qdrant-api-key"  # noqa: S105 - the name of a Secret
    service_account: str = "qdrant"
    client_namespaces: tuple[str, ...] = ()
    monitoring_namespace: str = "monitoring"
    snapshot_schedule: str = "17 2 * * *"
    https_egress_cidrs: tuple[str, ...] = ("0.0.0.0/0",)
    labels: Mapping[str, str] = field(default_factory=dict)


class VectorStore(pulumi.ComponentResource):
    """StorageClass, StatefulSet, Services, key, disruption budget, network policies, snapshot CronJob, scraping.

    Outputs: ``service_name``, ``api_key_secret`` (Secret with entry ``api-key``, generated in the cluster).
    """

    service_name: pulumi.Output[str]
    api_key_secret: pulumi.Output[str]
