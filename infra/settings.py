"""What a stack file may say: one typed document per layer, told apart by ``tonnage:layer``.

Frozen pydantic models built from the types of ``sizing.inputs``; unknown keys are refused and the nearest known key is
named. Secrets never stand in a stack file: a setting that needs one takes the ARN of a Secrets Manager entry.

``python -m infra.settings > stacks/settings.schema.json`` writes the JSON schema that editors complete keys from.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from infra import versions
from sizing.inputs import Budget, Capacity, ModelEntry, VectorStore
from sizing.stated import KUBERNETES_NAME, Stated

NAMESPACE = "tonnage"
REGION_KEY = "aws:region"
LAYERS = ("cluster", "serving")

Region = Annotated[
    str,
    Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="AWS region of everything in the stack, also of its prices"),
]
RoleArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/\S+$")]
SecretArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+$")]
CertificateArn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/\S+$")]
ImageDigest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
ZoneId = Annotated[str, Field(pattern=r"^[a-z]{3,4}\d-az\d$")]
KubernetesName = Annotated[str, Field(pattern=KUBERNETES_NAME)]


def _network(value: str) -> str:
    """Refuse what is no network in CIDR form; the error of ``ipaddress`` says why."""
    ipaddress.ip_network(value)
    return value


class SystemNodes(Stated):
    """Nodes without GPU for the cluster's own pods."""

    count: int = Field(2, ge=2, le=20, description="nodes; two survive the loss of one")
    instance_type: str = Field("m7i.large", min_length=1, description="instance type without GPU")
    disk_gib: int = Field(50, ge=20, le=16384, description="root volume (gp3)")


class ClusterSettings(Stated):
    """Stack file of the layer ``cluster``: what changes rarely."""

    layer: Literal["cluster"] = Field(description="which of the two documents the file is")
    region: Region
    zones: int = Field(
        3, ge=2, le=5, description="number of availability zones of the network: those with most GPU types"
    )
    zone_ids: tuple[ZoneId, ...] | None = Field(
        None,
        min_length=2,
        max_length=5,
        strict=False,
        description="zones of the network by id, for example use1-az1; replaces `zones`",
    )
    cidr: str = Field("10.40.0.0/16", description="private address range of the network, /16 to /20")
    nat_per_zone: bool = Field(
        False,
        description="a NAT gateway in every zone, so that losing one does not cut the others off from the internet;"
        " false: one for all zones, which costs less",
    )
    interface_endpoints: tuple[str, ...] = Field(
        (),
        strict=False,
        description="AWS services that nodes reach through a private endpoint and not through NAT, by short name, for"
        " example ecr.api or sts; each is billed per zone and hour. The endpoint of S3 is free and always there",
    )
    kubernetes_version: str = Field(
        versions.KUBERNETES, pattern=r"^1\.\d{2}$", description="minor version of Kubernetes on EKS"
    )
    admin_role_arns: tuple[RoleArn, ...] = Field(
        min_length=1,
        strict=False,
        description="IAM roles with cluster-admin rights; the one that deploys is among them",
    )
    public_access_cidrs: tuple[str, ...] = Field(
        (), strict=False, description="networks that reach the Kubernetes API from outside; none: private endpoint only"
    )
    system_nodes: SystemNodes = SystemNodes()
    protect: bool = Field(
        False, description="EKS refuses to delete the cluster until this is false again and has been deployed"
    )

    @field_validator("cidr")
    @classmethod
    def _cidr(cls, value: str) -> str:
        return _network(value)

    @field_validator("public_access_cidrs")
    @classmethod
    def _cidrs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            if _network(network) in {"0.0.0.0/0", "::/0"}:
                msg = f"{network} opens the Kubernetes API to everybody; name the networks of your people and CI"
                raise ValueError(msg)
        return value


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
        return tuple(_network(network) for network in value)

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


StackSettings = ClusterSettings | ServingSettings
LAYER_MODELS: dict[str, type[ClusterSettings] | type[ServingSettings]] = {
    "cluster": ClusterSettings,
    "serving": ServingSettings,
}


def config_key(alias: str) -> str:
    """Return the key in a stack file of a top-level setting: ``models`` is ``tonnage:models``."""
    return REGION_KEY if alias == "region" else f"{NAMESPACE}:{alias}"


def schema() -> dict[str, Any]:
    """Return the JSON schema of a stack file, generated from the models."""
    definitions: dict[str, Any] = {}
    layers = []
    for name in LAYERS:
        layer = LAYER_MODELS[name].model_json_schema(by_alias=True, ref_template="#/$defs/{model}")
        definitions.update(layer.pop("$defs", {}))
        layer["properties"] = {config_key(key): value for key, value in layer["properties"].items()}
        layer["required"] = [config_key(key) for key in layer["required"]]
        definitions[LAYER_MODELS[name].__name__] = layer
        layers.append({"$ref": f"#/$defs/{LAYER_MODELS[name].__name__}"})
    discriminator = {
        "if": {"properties": {config_key("layer"): {"const": "cluster"}}},
        "then": layers[0],
        "else": layers[1],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tonnage stack file",
        "description": "Generated by `python -m infra.settings`; do not edit.",
        "type": "object",
        "properties": {
            "config": {"type": "object", "required": [config_key("layer")], **discriminator},
            "secretsprovider": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "encryptionsalt": {"type": "string"},
        },
        "required": ["config"],
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")
