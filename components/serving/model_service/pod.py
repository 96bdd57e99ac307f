"""The pod that runs one vLLM engine, as the plan sized it.

Everything measurable in it (requests, shared memory, probes, grace, pools) is copied from the ``ServingPlan``;
everything fixed in it is the hardening that holds for every engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.common.kubernetes import (
    Document,
    container_security_context,
    cpu,
    gib,
    labels,
    minutes,
    pod_security_context,
    selector,
)
from sizing.errors import BadInput
from sizing.nodes.labels import GPU_RESOURCE, POOL_LABEL, ZONE_ID_LABEL
from sizing.plan import NodePoolPlan, ServingPlan
from sizing.plan.operation import Probe
from sizing.serving.launch import launch_document

COMPONENT = "model"
PORT = 8000
"""Port of vLLM's OpenAI server; the engine listens nowhere else."""
LAUNCH_FOLDER = "/etc/tonnage"
HOME = "/var/lib/tonnage"
KEY_ENTRY = "api-key"


def launch_config(plan: ServingPlan) -> tuple[str, str]:
    """Return name and content of the ConfigMap: the name carries the hash of the content, so that pods roll."""
    content = json.dumps(launch_document(plan), indent=2, sort_keys=True) + "\n"
    return f"{plan.name}-launch-{hashlib.sha256(content.encode()).hexdigest()[:10]}", content


def key_secret(name: str) -> str:
    """Return the name of the Secret with the key of one engine (entries ``api-key`` and ``credential``)."""
    return f"{name}-engine-key"


def _http_probe(probe: Probe) -> Document:
    return {
        "httpGet": {"path": probe.path, "port": "http", "scheme": "HTTP"},
        "periodSeconds": probe.period_s,
        "timeoutSeconds": probe.timeout_s,
        "failureThreshold": probe.failure_threshold,
    }


def _readiness_probe(probe: Probe) -> Document:
    """Return readiness as a command: vLLM guards ``/v1`` with its key, which a kubelet's HTTP probe cannot carry.

    The command reads the key from the environment and also waits for the warm-up to have ended.
    """
    return {
        "exec": {"command": ["python3", "-m", "runtime.ready", "--path", probe.path]},
        "periodSeconds": probe.period_s,
        "timeoutSeconds": probe.timeout_s,
        "failureThreshold": probe.failure_threshold,
    }


def _environment(plan: ServingPlan, bucket: Any, region: str) -> list[Document]:
    plain = {
        "AWS_REGION": region,
        "HF_HUB_OFFLINE": "1",
        "HOME": HOME,
        "TMPDIR": "/tmp",  # noqa: S108 - a volume of the pod, nobody else writes there
        "TONNAGE_BUCKET": bucket,
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(plan.http_keep_alive_s),
        "VLLM_NO_USAGE_STATS": "1",
        "XDG_CACHE_HOME": f"{HOME}/cache",
    }
    variables: list[Document] = [{"name": name, "value": plain[name]} for name in sorted(plain)]
    key = {"secretKeyRef": {"name": key_secret(plan.name), "key": KEY_ENTRY}}
    return [*variables, {"name": "VLLM_API_KEY", "valueFrom": key}]


def _volumes(plan: ServingPlan) -> tuple[list[Document], list[Document]]:
    """Return volumes and their mounts; every writable path is listed, the root file system is read-only."""
    volumes: list[Document] = [
        {"name": "launch", "configMap": {"name": launch_config(plan)[0]}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": gib(plan.resources.shm_gib)}},
        {"name": "home", "emptyDir": {"sizeLimit": gib(plan.resources.ephemeral_gib)}},
        {"name": "tmp", "emptyDir": {"sizeLimit": gib(plan.resources.ephemeral_gib)}},
    ]
    mounts: list[Document] = [
        {"name": "launch", "mountPath": LAUNCH_FOLDER, "readOnly": True},
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        {"name": "home", "mountPath": HOME},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
    ]
    return volumes, mounts


def _resources(plan: ServingPlan) -> Document:
    """Return requests and limits: GPUs, memory and disk exact; CPU requested but not limited (no throttling)."""
    needs = plan.resources
    bound = {
        GPU_RESOURCE: str(needs.gpus),
        "memory": gib(needs.memory_gib),
        "ephemeral-storage": gib(needs.ephemeral_gib),
    }
    return {"requests": {**bound, "cpu": cpu(needs.cpu)}, "limits": bound}


def _container(plan: ServingPlan, image: Any, bucket: Any, region: str, mounts: list[Document]) -> Document:
    return {
        "name": "engine",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "env": _environment(plan, bucket, region),
        "resources": _resources(plan),
        "startupProbe": _http_probe(plan.probes.startup),
        "livenessProbe": _http_probe(plan.probes.liveness),
        "readinessProbe": _readiness_probe(plan.probes.readiness),
        "lifecycle": {"preStop": {"exec": {"command": ["python3", "-m", "runtime.drain"]}}},
        "securityContext": container_security_context(),
        "volumeMounts": mounts,
    }


def node_affinity(pools: Sequence[NodePoolPlan], weights: Sequence[int]) -> Document:
    """Return the node affinity: only the plan's pools in their zones, preferred by its weights.

    The zones are named because pools of other models with other zones may carry the same taint: without them the spread
    would count zones in which no pool of this model buys.
    """

    def among(key: str, values: Iterable[str]) -> Document:
        return {"key": key, "operator": "In", "values": sorted(values)}

    zones = {zone for pool in pools for zone in pool.zones}
    names = [pool.name for pool in pools]
    required = {"nodeSelectorTerms": [{"matchExpressions": [among(POOL_LABEL, names), among(ZONE_ID_LABEL, zones)]}]}
    affinity: Document = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    if weights:
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": weight, "preference": {"matchExpressions": [among(POOL_LABEL, [name])]}}
            for name, weight in zip(names, weights, strict=True)
        ]
    return affinity


def _tolerations(pools: Sequence[NodePoolPlan]) -> list[Document]:
    taints = sorted({(pool.taint_key, pool.taint_value) for pool in pools})
    return [{"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"} for key, value in taints]


def zone_spread(plan: ServingPlan) -> list[Document]:
    """Return the spread over zones; pods that no node of the plan could take do not count."""
    return [
        {
            "maxSkew": plan.placement.max_skew,
            "topologyKey": ZONE_ID_LABEL,
            "whenUnsatisfiable": plan.placement.when_unsatisfiable,
            "nodeAffinityPolicy": "Honor",
            "nodeTaintsPolicy": "Honor",
            "labelSelector": {"matchLabels": selector(plan.name, COMPONENT)},
        }
    ]


def pools_of(plan: ServingPlan, pools: Sequence[NodePoolPlan]) -> tuple[NodePoolPlan, ...]:
    """Return the pools that the plan names, in its order; a name without a pool is refused."""
    known = {pool.name: pool for pool in pools}
    missing = [name for name in plan.pools if name not in known]
    if missing or not plan.pools:
        problem = f"node pools {', '.join(missing) or 'of the plan'} are not among {', '.join(sorted(known)) or 'none'}"
        raise BadInput(f"model {plan.name}", problem, way_out="pass the pools of the same StackPlan")
    return tuple(known[name] for name in plan.pools)


def pod_template(
    plan: ServingPlan,
    pools: Sequence[NodePoolPlan],
    *,
    image: Any,
    bucket: Any,
    region: str,
    service_account: str,
    extra_labels: Mapping[str, str] | None = None,
) -> Document:
    """Return the pod template of one engine; ``image`` is a reference by digest, ``bucket`` the model store."""
    own_pools = pools_of(plan, pools)
    volumes, mounts = _volumes(plan)
    return {
        "metadata": {
            "labels": labels(plan.name, COMPONENT, extra_labels),
            # A replica is worth nothing before its load has ended: no voluntary disruption until then.
            "annotations": {"karpenter.sh/do-not-disrupt": minutes(plan.rollout.protected_s)},
        },
        "spec": {
            "serviceAccountName": service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": plan.drain.grace_period_s,
            "securityContext": pod_security_context(),
            "affinity": {"nodeAffinity": node_affinity(own_pools, plan.placement.pool_weights)},
            "tolerations": _tolerations(own_pools),
            "topologySpreadConstraints": zone_spread(plan),
            "containers": [_container(plan, image, bucket, region, mounts)],
            "volumes": volumes,
        },
    }
