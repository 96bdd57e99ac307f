"""The vector store beside the models: Qdrant, sized by the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from components.common.arguments import require_list, require_tags, require_text
from components.common.generated_secret import generated_secret
from components.common.kubernetes import FORCED, labels
from components.common.well_known import EVERYWHERE, MONITORING_NAMESPACE
from components.data.vector_store import documents
from sizing.plan import VectorStorePlan


@dataclass(frozen=True, kw_only=True)
class VectorStoreArgs:
    """What the vector store needs.

    ``image`` is Qdrant by digest, ``snapshot_image`` the ``tools`` target of runtime/Dockerfile by digest,
    ``snapshot_bucket`` an existing bucket. ``service_account`` is what the Pod Identity association of the snapshot
    writer names. ``client_namespaces`` may connect; by default only the store's own namespace.
    ``tags`` are put on the volumes.
    """

    plan: VectorStorePlan
    namespace: str
    image: pulumi.Input[str]
    snapshot_image: pulumi.Input[str]
    snapshot_bucket: pulumi.Input[str]
    region: str
    api_key_secret: str = documents.KEY_SECRET
    service_account: str = documents.SERVICE_ACCOUNT
    client_namespaces: tuple[str, ...] = ()
    monitoring_namespace: str = MONITORING_NAMESPACE
    snapshot_schedule: str = "17 2 * * *"
    https_egress_cidrs: tuple[str, ...] = EVERYWHERE
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse names without text and bad lists."""
        require_text("vectorStore.namespace", self.namespace)
        require_text("vectorStore.region", self.region)
        require_list("vectorStore.clientNamespaces", self.client_namespaces)
        require_list("vectorStore.httpsEgressCidrs", self.https_egress_cidrs)
        require_tags("vectorStore.tags", self.tags)


class VectorStore(pulumi.ComponentResource):
    """StorageClass, StatefulSet, Services, key, disruption budget, network policies, CronJobs, scraping.

    Outputs: ``service_name``, ``api_key_secret`` (Secret with entry ``api-key``, generated in the cluster).
    """

    service_name: pulumi.Output[str]
    api_key_secret: pulumi.Output[str]

    def __init__(self, name: str, args: VectorStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:VectorStore", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        account = kubernetes.core.v1.ServiceAccount(
            f"{name}-account",
            metadata=self._meta(args.service_account),
            automount_service_account_token=False,
            opts=self._child,
        )
        key = self._key()
        peers, clients = self._services()
        self._stateful_set(self._storage_class(), [account, key, peers])
        self._protection()
        self._snapshots([account, key])
        self._monitor()
        self.service_name = clients.metadata["name"]
        self.api_key_secret = pulumi.Output.from_input(args.api_key_secret)
        self.register_outputs({"serviceName": self.service_name, "apiKeySecret": self.api_key_secret})

    def _meta(self, object_name: str, **more: object) -> dict[str, object]:
        args = self._args
        own = labels(self._name, documents.COMPONENT, args.labels)
        return {"name": object_name, "namespace": args.namespace, "labels": own, **more}

    def _key(self) -> kubernetes.apiextensions.CustomResource:
        """Make the key inside the cluster, so that it is in no state file."""
        return generated_secret(
            generator=f"{self._name}-key-generator",
            secret=f"{self._name}-key",
            metadata=self._meta(self._args.api_key_secret),
            templates={"api-key": "{{ .password }}"},
            opts=self._child,
        )

    def _services(self) -> tuple[kubernetes.core.v1.Service, kubernetes.core.v1.Service]:
        # Endpoints appear with the StatefulSet, which itself waits for the headless Service.
        skip = {"annotations": {"pulumi.com/skipAwait": "true"}}
        peers = kubernetes.core.v1.Service(
            f"{self._name}-peers",
            metadata=self._meta(documents.peers_name(self._name), **skip),
            spec=documents.peer_service(self._name),
            opts=self._child,
        )
        clients = kubernetes.core.v1.Service(
            f"{self._name}-clients",
            metadata=self._meta(self._name, **skip),
            spec=documents.client_service(self._name),
            opts=self._child,
        )
        return peers, clients

    def _storage_class(self) -> kubernetes.storage.v1.StorageClass:
        wire = documents.storage_class(self._args.tags)
        return kubernetes.storage.v1.StorageClass(
            f"{self._name}-storage",
            metadata={"name": f"{self._name}-gp3", "labels": labels(self._name, documents.COMPONENT)},
            provisioner=wire["provisioner"],
            parameters=wire["parameters"],
            volume_binding_mode=wire["volumeBindingMode"],
            allow_volume_expansion=wire["allowVolumeExpansion"],
            reclaim_policy=wire["reclaimPolicy"],
            opts=self._child,
        )

    def _stateful_set(self, storage: kubernetes.storage.v1.StorageClass, needed: list[pulumi.Resource]) -> None:
        """Register the nodes and the size of their disks.

        A template of claims cannot change: the set would be replaced and its volumes keep their size. So the template
        stays as it was made, and the claims themselves are made to ask for what is planned now.
        """
        args = self._args
        nodes = kubernetes.apps.v1.StatefulSet(
            f"{self._name}-nodes",
            metadata=self._meta(self._name),
            spec=documents.stateful_set(
                self._name,
                args.plan,
                image=args.image,
                key_secret=args.api_key_secret,
                service_account=args.service_account,
                storage_class_name=f"{self._name}-gp3",
                extra_labels=args.labels,
            ),
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[storage, *needed], ignore_changes=["spec.volumeClaimTemplates"]
            ),
        )
        for claim in documents.claim_names(self._name, args.plan.replicas):
            kubernetes.core.v1.PersistentVolumeClaimPatch(
                f"{self._name}-{claim}",
                metadata={"name": claim, "namespace": args.namespace, "annotations": dict(FORCED)},
                spec=documents.claim_size(args.plan),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[nodes]),
            )

    def _protection(self) -> None:
        args = self._args
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{self._name}-disruption",
            metadata=self._meta(self._name),
            spec=documents.disruption_budget(self._name),
            opts=self._child,
        )
        kubernetes.networking.v1.NetworkPolicy(
            f"{self._name}-network",
            metadata=self._meta(self._name),
            spec=documents.network_policy(
                self._name,
                client_namespaces=args.client_namespaces or (args.namespace,),
                monitoring_namespace=args.monitoring_namespace,
                snapshot_labels=documents.selector(self._name, "vector-store-snapshot"),
            ),
            opts=self._child,
        )
        kubernetes.networking.v1.NetworkPolicy(
            f"{self._name}-snapshot-network",
            metadata=self._meta(documents.snapshot_name(self._name)),
            spec=documents.snapshot_network_policy(self._name, args.https_egress_cidrs),
            opts=self._child,
        )

    def _snapshots(self, needed: list[pulumi.Resource]) -> None:
        args = self._args
        jobs = documents.Jobs(
            namespace=args.namespace,
            image=args.snapshot_image,
            bucket=args.snapshot_bucket,
            region=args.region,
            key_secret=args.api_key_secret,
            service_account=args.service_account,
        )
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        kubernetes.batch.v1.CronJob(
            f"{self._name}-snapshots",
            metadata=self._meta(documents.snapshot_name(self._name)),
            spec=documents.snapshot_job(self._name, args.plan, jobs, args.snapshot_schedule),
            opts=after,
        )
        kubernetes.batch.v1.CronJob(
            f"{self._name}-restore",
            metadata=self._meta(documents.restore_name(self._name)),
            spec=documents.restore_job(self._name, args.plan, jobs),
            opts=after,
        )

    def _monitor(self) -> None:
        spec = documents.pod_monitor(self._name, self._args.api_key_secret)
        kubernetes.apiextensions.CustomResource(
            f"{self._name}-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata=self._meta(self._name),
            spec=spec,
            opts=self._child,
        )
