"""Stack file of the layer ``serving``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from infra import versions
from infra.settings.types import (
    PERMISSIONS_BOUNDARY,
    REGISTRY_MIRROR,
    CertificateArn,
    ImageDigest,
    KubernetesName,
    PolicyArn,
    Region,
    Registry,
    SecretArn,
    check_network,
)
from sizing.inputs import Budget, Capacity, ModelEntry, VectorStore
from sizing.stated import Stated


class RuntimeImages(Stated):
    """Images built from runtime/Dockerfile and pushed to the cluster stack's registry, by digest."""

    image_digest: ImageDigest = Field(description="target `engine` of the Dockerfile: vLLM with the launcher")
    tools_digest: ImageDigest = Field(
        versions.PLACEHOLDER_DIGEST,
        description="target `tools` of the Dockerfile: ingest of weights, snapshots of the vector store",
    )


class GatewaySettings(Stated):
    """How callers reach the models."""

    scheme: Literal["internal", "internet-facing"] = Field(
        "internal",
        description="whether the load balancer has an address inside the VPC only, or one that the internet reaches",
    )
    certificate_arn: CertificateArn | None = Field(
        None, description="ACM certificate: the load balancer speaks TLS; required for internet-facing"
    )
    allowed_cidrs: tuple[str, ...] = Field(
        (), strict=False, description="networks that may connect to the load balancer; none: no restriction by address"
    )
    api_keys_secret_arn: SecretArn | None = Field(
        None, description="Secrets Manager entry with client name -> key; default tonnage/<stack>/gateway-api-keys"
    )
    replicas: int = Field(2, ge=1, le=50, description="Envoy proxies")

    @field_validator("allowed_cidrs")
    @classmethod
    def _cidrs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_network(network) for network in value)

    @model_validator(mode="after")
    def _encrypted(self) -> GatewaySettings:
        if self.scheme == "internet-facing" and self.certificate_arn is None:
            msg = "internet-facing needs certificateArn; keys must not travel in plain"
            raise ValueError(msg)
        return self


class ServingSettings(Stated):
    """Stack file of the layer ``serving``: what is served, for whom, for how much."""

    layer: Literal["serving"] = Field(description="which of the two documents the file is")
    region: Region
    models: tuple[ModelEntry, ...] = Field(
        min_length=1, max_length=50, strict=False, description="the served models, each under its own name"
    )
    capacity: Capacity = Capacity()
    budget: Budget
    vector_store: VectorStore | None = Field(None, description="a Qdrant cluster in the same stack; absent: none")
    runtime: RuntimeImages
    gateway: GatewaySettings = GatewaySettings()
    cluster_stack: KubernetesName | None = Field(None, description="stack to deploy on; default <stack>-cluster")
    namespace: KubernetesName = Field("serving", description="Kubernetes namespace of the models")
    hub_secret_arn: SecretArn | None = Field(None, description="Secrets Manager entry with the model hub's token")
    permissions_boundary_arn: PolicyArn | None = Field(None, description=PERMISSIONS_BOUNDARY)
    registry_mirror: Registry | None = Field(None, description=REGISTRY_MIRROR)
    keep_weights: bool = Field(True, description="refuse to destroy the model store while it holds anything")

    @field_validator("models")
    @classmethod
    def _distinct(cls, value: tuple[ModelEntry, ...]) -> tuple[ModelEntry, ...]:
        names = [entry.name for entry in value]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            msg = f"two models are named {repeated[0]!r}; give each its own name"
            raise ValueError(msg)
        return value
