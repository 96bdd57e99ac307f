"""Documents of the vector store: Qdrant on encrypted disks, guarded by a key, snapshotted, one node at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.common.kubernetes import (
    Document,
    aws_egress,
    container_security_context,
    cpu,
    dns_egress,
    from_namespace,
    gib,
    labels,
    pod_security_context,
    selector,
    tcp,
)
from sizing.nodes.labels import ZONE_LABEL
from sizing.plan import VectorStorePlan
from sizing.plan.operation import Probe

COMPONENT = "vector-store"
HTTP_PORT, GRPC_PORT, PEER_PORT = 6333, 6334, 6335
"""Ports of Qdrant's REST API, gRPC API and cluster protocol (Qdrant documentation, configuration)."""

QDRANT_USER = 1000
"""User of Qdrant's unprivileged image (qdrant documentation, "Security": unprivileged image)."""

STORAGE_FOLDER, SNAPSHOT_FOLDER = "/qdrant/storage", "/qdrant/snapshots"
NEVER = "0 0 31 2 *"
"""Schedule of a job that people start: the 31st of February."""
CLAIM = "storage"
"""Name of the template of the claims."""
KEY_ENTRY = "api-key"
KEY_SECRET = "qdrant-api-key"  # noqa: S105 - the name of the Secret
SERVICE_ACCOUNT = "qdrant"


EPHEMERAL = "2Gi"
"""Disk of the node for temporary files (1 GiB at most) and logs: without a bound a full node evicts the data."""
STARTING_DEADLINE_S = 3600
"""A snapshot that could not start for an hour is left out. Without a deadline Kubernetes gives a CronJob up for good
after 100 missed starts (its documentation, CronJob)."""


def peers_name(name: str) -> str:
    """Return the name of the headless Service through which the nodes find each other."""
    return f"{name}-peers"


def snapshot_name(name: str) -> str:
    """Return the name of the snapshot job and of its NetworkPolicy."""
    return f"{name}-snapshot"


def restore_name(name: str) -> str:
    """Return the name of the restore job."""
    return f"{name}-restore"


def object_names(name: str) -> tuple[str, ...]:
    """Return the names of all objects of the component in its namespace, where account and key have theirs."""
    return name, peers_name(name), snapshot_name(name), restore_name(name), SERVICE_ACCOUNT, KEY_SECRET


def storage_class(tags: Mapping[str, str] | None = None) -> Document:
    """Return the StorageClass: encrypted gp3 in the pod's zone; volumes outlive the claim, for they are the data.

    ``tags`` are put on the volumes: the driver makes them, so no provider tags them, and the budget counts by tag.
    """
    tagged = {
        f"tagSpecification_{place}": f"{key}={value}"
        for place, (key, value) in enumerate(sorted((tags or {}).items()), 1)
    }
    return {
        "provisioner": "ebs.csi.aws.com",
        "parameters": {"type": "gp3", "encrypted": "true", "csi.storage.k8s.io/fstype": "ext4", **tagged},
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        "reclaimPolicy": "Retain",
    }


def peer_service(name: str) -> Document:
    """Return the headless Service's spec: peers must find one another before they are ready."""
    return {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": selector(name, COMPONENT),
        "ports": [{"name": "peer", "port": PEER_PORT, "targetPort": "peer", "protocol": "TCP"}],
    }


def client_service(name: str) -> Document:
    """Return the Service's spec that clients use: REST and gRPC, inside the cluster only."""
    ports = (("http", HTTP_PORT, "http"), ("grpc", GRPC_PORT, "kubernetes.io/h2c"))
    return {
        "type": "ClusterIP",
        "selector": selector(name, COMPONENT),
        "ports": [
            {"name": port, "port": number, "targetPort": port, "protocol": "TCP", "appProtocol": protocol}
            for port, number, protocol in ports
        ],
    }


def _key(secret: str) -> Document:
    return {"secretKeyRef": {"name": secret, "key": KEY_ENTRY}}


def _command(name: str, replicas: int) -> list[str]:
    """Return the start command: alone, or as the first peer or one that joins it (ordinal 0 is the first)."""
    if replicas == 1:
        return ["./qdrant"]
    own = f'"http://$POD_NAME.{name}-peers:{PEER_PORT}"'
    first = f'"http://{name}-0.{name}-peers:{PEER_PORT}"'
    start = f'if [ "$POD_NAME" = "{name}-0" ]; then exec ./qdrant --uri {own}; fi'
    return ["/bin/sh", "-c", f"{start}; exec ./qdrant --bootstrap {first} --uri {own}"]


def _environment(plan: VectorStorePlan, key_secret: str) -> list[Document]:
    plain = {
        # The only file that Qdrant writes beside its storage; the root file system is read-only.
        "QDRANT_INIT_FILE_PATH": "/tmp/.qdrant-initialized",  # noqa: S108
        "QDRANT__CLUSTER__ENABLED": "true" if plan.replicas > 1 else "false",
        "QDRANT__SERVICE__ENABLE_TLS": "false",
        "QDRANT__STORAGE__SNAPSHOTS_PATH": SNAPSHOT_FOLDER,
        "QDRANT__STORAGE__STORAGE_PATH": STORAGE_FOLDER,
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    if plan.replicas > 1:
        plain |= {
            "QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR": str(plan.copies),
            "QDRANT__STORAGE__COLLECTION__SHARD_NUMBER": str(plan.shards),
            "QDRANT__STORAGE__COLLECTION__WRITE_CONSISTENCY_FACTOR": "1",
        }
    return [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        *({"name": name, "value": plain[name]} for name in sorted(plain)),
        {"name": "QDRANT__SERVICE__API_KEY", "valueFrom": _key(key_secret)},
    ]


def _probe(probe: Probe) -> Document:
    """Return a probe; Qdrant leaves its health paths open when a key is set."""
    return {
        "httpGet": {"path": probe.path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": probe.period_s,
        "timeoutSeconds": probe.timeout_s,
        "failureThreshold": probe.failure_threshold,
    }


def _container(name: str, plan: VectorStorePlan, image: Any, key_secret: str) -> Document:
    bound = {"memory": gib(plan.memory_gib), "ephemeral-storage": EPHEMERAL}
    ports = (("http", HTTP_PORT), ("grpc", GRPC_PORT), ("peer", PEER_PORT))
    return {
        "name": "qdrant",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": _command(name, plan.replicas),
        "workingDir": "/qdrant",
        "env": _environment(plan, key_secret),
        "ports": [{"name": port, "containerPort": number, "protocol": "TCP"} for port, number in ports],
        "resources": {"requests": {**bound, "cpu": cpu(plan.cpu)}, "limits": bound},
        "startupProbe": _probe(plan.probes.startup),
        "livenessProbe": _probe(plan.probes.liveness),
        "readinessProbe": _probe(plan.probes.readiness),
        "securityContext": container_security_context(),
        "volumeMounts": [
            {"name": CLAIM, "mountPath": STORAGE_FOLDER, "subPath": "storage"},
            {"name": CLAIM, "mountPath": SNAPSHOT_FOLDER, "subPath": "snapshots"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _spread(name: str, replicas: int) -> Document:
    """Return where replicas may be: never two on one machine, zones evenly as long as every zone has room."""
    chosen = {"matchLabels": selector(name, COMPONENT)}
    apart = [{"labelSelector": chosen, "topologyKey": "kubernetes.io/hostname"}]
    spread: Document = {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": ZONE_LABEL,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": chosen,
            }
        ]
    }
    if replicas > 1:
        spread["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": apart}}
    return spread


def stateful_set(
    name: str,
    plan: VectorStorePlan,
    *,
    image: Any,
    key_secret: str,
    service_account: str,
    storage_class_name: str,
    extra_labels: Mapping[str, str] | None = None,
) -> Document:
    """Return the StatefulSet's spec; the disk holds storage and one full set of snapshots."""
    pod_labels = labels(name, COMPONENT, extra_labels)
    return {
        "replicas": plan.replicas,
        "serviceName": f"{name}-peers",
        # After all have stopped the first is ready only with a majority of its peers: they must start together.
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "selector": {"matchLabels": selector(name, COMPONENT)},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "template": {
            "metadata": {"labels": pod_labels},
            "spec": {
                "serviceAccountName": service_account,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": plan.grace_period_s,
                "securityContext": pod_security_context(QDRANT_USER),
                **_spread(name, plan.replicas),
                "containers": [_container(name, plan, image, key_secret)],
                "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
            },
        },
        "volumeClaimTemplates": [
            {
                "metadata": {"name": CLAIM, "labels": selector(name, COMPONENT)},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": storage_class_name,
                    **claim_size(plan),
                },
            }
        ],
    }


def claim_names(name: str, replicas: int) -> list[str]:
    """Return the names that the StatefulSet gives its claims, by ordinal."""
    return [f"{CLAIM}-{name}-{ordinal}" for ordinal in range(replicas)]


def claim_size(plan: VectorStorePlan) -> Document:
    """Return the part of a claim's spec that grows with the plan; its volume grows in place, under a running pod."""
    return {"resources": {"requests": {"storage": gib(plan.disk_gib)}}}


def disruption_budget(name: str) -> Document:
    """Return the PodDisruptionBudget's spec: one replica at a time."""
    return {"maxUnavailable": 1, "selector": {"matchLabels": selector(name, COMPONENT)}}


def network_policy(
    name: str, *, client_namespaces: Sequence[str], monitoring_namespace: str, snapshot_labels: Mapping[str, str]
) -> Document:
    """Return the NetworkPolicy's spec: clients on the APIs, peers among themselves, nothing to the outside."""
    peers = {"podSelector": {"matchLabels": selector(name, COMPONENT)}}
    apis = tcp(HTTP_PORT, GRPC_PORT)
    clients = [from_namespace(namespace) for namespace in sorted(client_namespaces)]
    ingress: list[Document] = [
        {"from": [peers], "ports": tcp(PEER_PORT)},
        {"from": [{"podSelector": {"matchLabels": dict(snapshot_labels)}}], "ports": tcp(HTTP_PORT)},
        {"from": [from_namespace(monitoring_namespace)], "ports": tcp(HTTP_PORT)},
    ]
    if clients:
        ingress.append({"from": clients, "ports": apis})
    return {
        "podSelector": {"matchLabels": selector(name, COMPONENT)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": ingress,
        "egress": [{"to": [peers], "ports": tcp(PEER_PORT)}, dns_egress()],
    }


def snapshot_network_policy(name: str, https_cidrs: Sequence[str]) -> Document:
    """Return the NetworkPolicy's spec of the snapshot job: the store, names, S3 and pod identity."""
    store = {"podSelector": {"matchLabels": selector(name, COMPONENT)}}
    return {
        "podSelector": {"matchLabels": selector(name, "vector-store-snapshot")},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": [store], "ports": tcp(HTTP_PORT)}, dns_egress(), *aws_egress(https_cidrs)],
    }


def pod_monitor(name: str, key_secret: str) -> Document:
    """Return the PodMonitor's spec; Qdrant guards ``/metrics`` with its key."""
    endpoint = {
        "port": "http",
        "path": "/metrics",
        "interval": "30s",
        "authorization": {"type": "Bearer", "credentials": {"name": key_secret, "key": KEY_ENTRY}},
    }
    return {"selector": {"matchLabels": selector(name, COMPONENT)}, "podMetricsEndpoints": [endpoint]}


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """What the jobs on snapshots share: image, bucket, key, and whose identity they have."""

    namespace: str
    image: Any
    bucket: Any
    region: str
    key_secret: str
    service_account: str


def snapshot_job(name: str, plan: VectorStorePlan, jobs: Jobs, schedule: str) -> Document:
    """Return the CronJob's spec: a snapshot of every collection of every node, streamed to the bucket."""
    job = _job(name, plan, jobs, "runtime.snapshot", retries=2)
    return {
        "schedule": schedule,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": STARTING_DEADLINE_S,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": job},
    }


def restore_job(name: str, plan: VectorStorePlan, jobs: Jobs) -> Document:
    """Return the spec of a CronJob that never runs by itself: ``kubectl create job --from`` makes a restore of it."""
    return {
        "schedule": NEVER,
        "suspend": True,
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": _job(name, plan, jobs, "runtime.restore", retries=0)},
    }


def _job(name: str, plan: VectorStorePlan, jobs: Jobs, program: str, *, retries: int) -> Document:
    peers = [f"http://{name}-{place}.{name}-peers.{jobs.namespace}.svc:{HTTP_PORT}" for place in range(plan.replicas)]
    bound = {"memory": gib(plan.snapshot_memory_gib), "ephemeral-storage": EPHEMERAL}
    container = {
        "name": program.rpartition(".")[2],
        "image": jobs.image,
        "command": ["python3", "-m", program, "--prefix", f"snapshots/{name}", *peers],
        "env": [
            {"name": "AWS_REGION", "value": jobs.region},
            {"name": "TONNAGE_BUCKET", "value": jobs.bucket},
            {"name": "QDRANT_API_KEY", "valueFrom": _key(jobs.key_secret)},
        ],
        "resources": {"requests": {**bound, "cpu": "250m"}, "limits": bound},
        "securityContext": container_security_context(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": jobs.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(),
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
    template = {"metadata": {"labels": labels(name, "vector-store-snapshot")}, "spec": pod}
    return {"backoffLimit": retries, "activeDeadlineSeconds": plan.snapshot_deadline_s, "template": template}
