"""The model store: bucket rules, who reads and writes which prefix, the Job that fills it.

One prefix per model and revision, written once, so that a revision is the same bytes for ever. The job that fills
it is the only one that talks to the model hub; serving pods read their own prefix and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.common.iam import parse_arn
from components.common.kubernetes import (
    Document,
    aws_egress,
    container_security_context,
    dns_egress,
    gib,
    labels,
    pod_security_context,
)
from components.common.names import MOST_BUCKET_NAME, MOST_ROLE_NAME, at_most, digest
from components.common.tags import SYSTEM_NODE_SELECTOR
from sizing.errors import BadInput
from sizing.plan.operation import Ingest
from sizing.serving.launch import weights_prefix

COMPONENT = "model-ingest"
INGEST_SERVICE_ACCOUNT = "model-ingest"
HUB_SECRET = "model-hub"  # noqa: S105 - the name of the Secret
OBJECT_NAMES = (INGEST_SERVICE_ACCOUNT, HUB_SECRET)
"""Names of all objects of the component but the jobs, which carry the model's."""
HUB_KEY = "HF_TOKEN"
"""Property of the Secrets Manager entry, key of the Secret and environment variable of the job: one name."""
TRY_AGAIN = {"pulumi.com/replaceUnready": "true"}
"""Annotation of the jobs: the next update makes a failed one anew and does not wait for it (pulumi-kubernetes, Job)."""
CONTAINER = "ingest"
FINAL_EXIT = 2
"""Exit code of the copy when running it again changes nothing: no access, no such revision, no weights to stream."""
INCOMPLETE_UPLOAD_DAYS = 1
OLD_VERSION_DAYS = 30


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """One model to keep: its service's name, its hub name, revision (a commit), size in bytes, limits of its copy.

    ``service_account`` is that of the serving pods, by default the service's name.
    """

    name: str
    model: str
    revision: str
    weights_bytes: int
    ingest: Ingest
    service_account: str = ""

    @property
    def prefix(self) -> str:
        """Key prefix in the bucket, as ``launch.json`` names it."""
        return weights_prefix(self.model, self.revision)

    @property
    def reader(self) -> str:
        """Service account that reads the prefix."""
        return self.service_account or self.name


def check_models(models: Sequence[StoredModel]) -> None:
    """Raise ``BadInput`` for two services of one name, a revision or a size that is missing."""
    names = [model.name for model in models]
    for model in models:
        where = f"modelStore.models.{model.name}"
        if names.count(model.name) > 1:
            raise BadInput(where, "is listed twice", way_out="give each service a name of its own")
        if not model.revision:
            raise BadInput(where, f"{model.model} has no revision", way_out="name the commit at the hub")
        if model.weights_bytes <= 0:
            raise BadInput(where, f"weights of {model.weights_bytes} bytes", limit="more than 0")


def distinct(models: Sequence[StoredModel]) -> list[StoredModel]:
    """Return one model per prefix: two services of the same revision share one copy."""
    by_prefix: dict[str, StoredModel] = {}
    for model in sorted(models, key=lambda each: each.name):
        by_prefix.setdefault(model.prefix, model)
    return list(by_prefix.values())


def bucket_name(cluster_name: str, stack_name: str, cluster_arn: str) -> str:
    """Return a name that is the same in each run and nobody else's: cluster, component, account, region.

    S3 allows 63 characters; a longer name keeps its account and region and is told apart by a digest.
    """
    arn = parse_arn(cluster_arn)
    tail = f"-{arn.account}-{arn.region}"
    head = f"{cluster_name}-{stack_name}".lower()
    return at_most(head, MOST_BUCKET_NAME - len(tail)) + tail


def role_name(name: str) -> str:
    """Return the name of a role: IAM allows 64 characters; a longer one is told apart by a digest."""
    return at_most(name, MOST_ROLE_NAME)


def job_name(model: StoredModel) -> str:
    """Return a name that changes with the revision."""
    return f"ingest-{model.name}-{digest(model.prefix)}"


def ingest_job(model: StoredModel, *, image: object, bucket: object, region: str, hub_secret: str | None) -> Document:
    """Return the Job's spec; ``image`` is the tools image by digest, ``bucket`` a name; both are only placed.

    No time to live: the job is the record that its copy is complete, and what the cluster deletes is created again.
    """
    return {
        "backoffLimit": 3,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [FINAL_EXIT]},
                }
            ]
        },
        "activeDeadlineSeconds": model.ingest.deadline_s,
        "template": {
            "metadata": {"labels": labels(model.name, COMPONENT)},
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": INGEST_SERVICE_ACCOUNT,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "nodeSelector": dict(SYSTEM_NODE_SELECTOR),
                "securityContext": pod_security_context(),
                "containers": [_container(model, image, bucket, region, hub_secret)],
                "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": gib(model.ingest.scratch_gib)}}],
            },
        },
    }


def _container(model: StoredModel, image: object, bucket: object, region: str, hub_secret: str | None) -> Document:
    environment: list[Document] = [
        {"name": "AWS_REGION", "value": region},
        {"name": "TONNAGE_BUCKET", "value": bucket},
        {"name": "TONNAGE_INGEST_DEADLINE_S", "value": str(model.ingest.copy_deadline_s)},
    ]
    if hub_secret is not None:
        reference = {"secretKeyRef": {"name": hub_secret, "key": HUB_KEY}}
        environment.append({"name": HUB_KEY, "valueFrom": reference})
    scratch = gib(model.ingest.scratch_gib)
    arguments = ["--model", model.model, "--revision", model.revision, "--prefix", model.prefix]
    return {
        "name": CONTAINER,
        "image": image,
        "command": ["python3", "-m", "runtime.ingest", *arguments],
        "env": environment,
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": scratch},
            "limits": {"memory": "1Gi", "ephemeral-storage": scratch},
        },
        "securityContext": container_security_context(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }


def ingest_network_policy(https_cidrs: Sequence[str]) -> Document:
    """Return the NetworkPolicy's spec of the ingest jobs: names, HTTPS (hub and S3), pod identity; nothing comes in."""
    return {
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": COMPONENT}},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [dns_egress(), *aws_egress(https_cidrs)],
    }


def hub_secret_name(hub_secret_arn: object) -> str | None:
    """Return the name of the Secret with the hub's token, or None for models that need no token."""
    return HUB_SECRET if hub_secret_arn is not None else None
