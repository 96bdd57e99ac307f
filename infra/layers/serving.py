"""The serving layer: what the sizing decides, on an existing cluster.

Weights are copied first, then machines are bought that are paid while they wait, then comes what runs on them; destroy
goes in reverse order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pulumi

from components.capacity.gpu_node_group.component import GpuNodeGroup, GpuNodeGroupArgs
from components.capacity.karpenter_pools.component import KarpenterPools, KarpenterPoolsArgs
from components.common.images import mirrored
from components.common.well_known import GATEWAY_NAMESPACE
from components.data.model_store.component import ModelStore, ModelStoreArgs
from components.data.model_store.documents import StoredModel
from components.data.vector_store.component import VectorStore, VectorStoreArgs
from components.data.vector_store.documents import SERVICE_ACCOUNT
from components.operations.budget.component import BudgetGuard, BudgetGuardArgs
from components.serving.gateway.component import Gateway, GatewayArgs
from components.serving.model_service.component import ModelService, ModelServiceArgs
from components.serving.namespace.component import Namespace, NamespaceArgs
from infra import versions
from infra.kubernetes_versions import KubernetesVersion
from infra.layers.cross_stack import check_against_cluster
from infra.outputs import ClusterOutputs
from infra.providers import aws_provider, kubernetes_provider
from infra.settings.names import VECTOR_STORE, check_stack_name
from infra.settings.serving import ServingSettings
from sizing.plan import NodePoolPlan, ServingPlan, StackPlan, VectorStorePlan
from sizing.serving.vector_store import check_disk_is_kept

DISK_EXPORT = "vectorStoreDiskGib"
"""Output with the size of the store's volumes, by which the next run knows that they may not shrink."""


def compose_serving(settings: ServingSettings, plan: StackPlan, cluster: ClusterOutputs) -> dict[str, Any]:
    """Register pools, model store, models, gateway, vector store and budget; return the stack's exports."""
    check_stack_name(plan.stack, cluster=False)
    nodes = check_against_cluster(settings, plan, cluster)
    layer = _Layer(
        settings=settings, plan=plan, cluster=cluster, nodes=nodes, options=_options(settings, plan, cluster)
    )
    space = layer.namespace()
    store = layer.store(space)
    pools = layer.pools(store)
    models = [layer.model(model, store, [space, *store.ready, *pools]) for model in plan.models]
    gateway = layer.gateway(models)
    if plan.vector_store is not None:
        layer.vector_store(plan.vector_store, store, space)
    layer.budget()
    return {
        **({DISK_EXPORT: plan.vector_store.disk_gib} if plan.vector_store else {}),
        "gatewayPaths": gateway.paths,
        "models": sorted(model.name for model in plan.models),
        "burnUsdPerHour": asdict(plan.burn_usd_per_hour),
        "budgetUsdPerMonth": plan.budget.monthly_usd,
    }


def check_growth(plan: StackPlan, deployed: Mapping[str, Any]) -> None:
    """Refuse a vector store with smaller disks than ``deployed``, the exports of this stack, says that it has."""
    volume_gib = deployed.get(DISK_EXPORT)
    if plan.vector_store is not None and volume_gib:
        check_disk_is_kept(plan.vector_store.disk_gib, float(volume_gib))


def _options(settings: ServingSettings, plan: StackPlan, cluster: ClusterOutputs) -> pulumi.ResourceOptions:
    cloud = aws_provider(settings.region, _tags(plan))
    inside = kubernetes_provider(
        region=cluster.region,
        cluster_name=cluster.cluster_name,
        endpoint=cluster.endpoint,
        certificate_authority=cluster.certificate_authority,
    )
    return pulumi.ResourceOptions(providers=[cloud, inside])


def _tags(plan: StackPlan) -> dict[str, str]:
    return {"tonnage:stack": plan.stack}


def _stored(model: ServingPlan) -> StoredModel:
    return StoredModel(
        name=model.name,
        model=model.model,
        revision=model.revision,
        weights_bytes=model.weights_bytes,
        ingest=model.ingest,
    )


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """What the components of the layer have in common."""

    settings: ServingSettings
    plan: StackPlan
    cluster: ClusterOutputs
    nodes: KubernetesVersion
    """What the nodes of this cluster run."""
    options: pulumi.ResourceOptions

    @property
    def tags(self) -> dict[str, str]:
        return _tags(self.plan)

    def _after(self, *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions.merge(self.options, pulumi.ResourceOptions(depends_on=list(needed)))

    def _image(self, digest: str) -> str:
        return f"{self.cluster.repository_url}@{digest}"

    def namespace(self) -> Namespace:
        args = NamespaceArgs(namespace=self.settings.namespace, gpu_quota=self.plan.gpu_quota)
        return Namespace(self.settings.namespace, args, self.options)

    def pools(self, store: ModelStore) -> list[pulumi.Resource]:
        """Register node groups, which buy at once and so wait for all weights, and Karpenter's, which buy for pods."""
        managed = [pool for pool in self.plan.pools if pool.kind == "managed"]
        made: list[pulumi.Resource] = [self._node_group(pool, store) for pool in managed]
        bought = tuple(pool for pool in self.plan.pools if pool.kind == "karpenter")
        if bought:
            args = KarpenterPoolsArgs(
                pools=bought,
                cluster_name=self.cluster.cluster_name,
                node_role_name=self.cluster.node_role_name,
                ami_alias=self.nodes.ami_alias,
                tags=self.tags,
            )
            made.append(KarpenterPools("pools", args, self.options))
        return made

    def _node_group(self, pool: NodePoolPlan, store: ModelStore) -> GpuNodeGroup:
        args = GpuNodeGroupArgs(
            pool=pool,
            cluster_name=self.cluster.cluster_name,
            node_role_arn=self.cluster.node_role_arn,
            subnet_ids=self.cluster.private_subnet_ids,
            ami_type=versions.GPU_AMI_TYPE,
            kubernetes_version=self.nodes.version,
            tags=self.tags,
        )
        return GpuNodeGroup(pool.name, args, self._after(*store.ready))

    def store(self, space: Namespace) -> ModelStore:
        args = ModelStoreArgs(
            cluster_name=self.cluster.cluster_name,
            cluster_arn=self.cluster.cluster_arn,
            namespace=self.settings.namespace,
            models=tuple(_stored(model) for model in self.plan.models),
            image=self._image(self.settings.runtime.tools_digest),
            region=self.settings.region,
            hub_secret_arn=self.settings.hub_secret_arn,
            secret_store=self.cluster.secret_store,
            snapshots={VECTOR_STORE: SERVICE_ACCOUNT} if self.plan.vector_store is not None else {},
            snapshots_of=self.plan.vector_store,
            force_destroy=not self.settings.keep_weights,
            permissions_boundary=self.settings.permissions_boundary_arn,
            tags=self.tags,
        )
        return ModelStore("models", args, self._after(space))

    def model(self, model: ServingPlan, store: ModelStore, needed: list[pulumi.Resource]) -> ModelService:
        args = ModelServiceArgs(
            plan=model,
            pools=tuple(pool for pool in self.plan.pools if pool.name in model.pools),
            namespace=self.settings.namespace,
            image=self._image(self.settings.runtime.image_digest),
            bucket=store.bucket,
            region=self.settings.region,
            prometheus_address=self.cluster.prometheus_address,
        )
        return ModelService(model.name, args, self._after(*needed))

    def gateway(self, models: list[ModelService]) -> Gateway:
        gateway = self.settings.gateway
        args = GatewayArgs(
            namespace=GATEWAY_NAMESPACE,
            serving_namespace=self.settings.namespace,
            plan=self.plan.gateway,
            api_keys_remote_key=gateway.api_keys_secret_arn or f"{self.cluster.secrets_prefix}/gateway-api-keys",
            secret_store=self.cluster.secret_store,
            certificate_arn=gateway.certificate_arn,
            scheme=gateway.scheme,
            allowed_cidrs=gateway.allowed_cidrs,
            registry_mirror=self.settings.registry_mirror,
            tags=self.tags,
        )
        return Gateway("gateway", args, self._after(*models))

    def vector_store(self, plan: VectorStorePlan, store: ModelStore, space: Namespace) -> None:
        args = VectorStoreArgs(
            plan=plan,
            namespace=self.settings.namespace,
            image=mirrored(versions.QDRANT_IMAGE, self.settings.registry_mirror),
            snapshot_image=self._image(self.settings.runtime.tools_digest),
            snapshot_bucket=store.bucket,
            region=self.settings.region,
            tags=self.tags,
        )
        VectorStore(VECTOR_STORE, args, self._after(space, *store.ready))

    def budget(self) -> None:
        args = BudgetGuardArgs(
            plan=self.plan.budget,
            stack=self.plan.stack,
            burn=self.plan.burn_usd_per_hour,
            cluster_name=self.cluster.cluster_name,
            cluster_arn=self.cluster.cluster_arn,
            frozen_role_names=[self.cluster.karpenter_role_name],
            permissions_boundary=self.settings.permissions_boundary_arn,
            tags=self.tags,
        )
        BudgetGuard("budget", args, self.options)
