"""Karpenter: what the controller may do, what its queue hears, and the NodePool and EC2NodeClass of one pool.

The controller's permissions follow one rule: it may create and change machines only with this cluster's tags on
them, and end only machines that carry those tags. Read calls cannot be scoped by resource and are limited by region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.common import node
from components.common.kubernetes import minutes
from components.common.node import node_labels
from components.common.tags import DISCOVERY_TAG, named
from sizing.errors import BadInput
from sizing.nodes.labels import GPU_RESOURCE, ZONE_ID_LABEL
from sizing.plan import NodePoolPlan
from sizing.plan.operation import NodeLifetime

API_VERSION = "karpenter.sh/v1"
CLASS_API_VERSION = "karpenter.k8s.aws/v1"


def check_alias(alias: str) -> None:
    """Raise ``BadInput`` for an image alias that floats: it replaces GPU nodes whenever AWS publishes an image."""
    family, _, release = alias.partition("@")
    if not family or not release or release == "latest":
        raise BadInput("karpenter.amiAlias", f"{alias!r} is not pinned", way_out="name a release, as al2023@v20260714")


def check_pool(pool: NodePoolPlan) -> None:
    """Raise ``BadInput`` unless Karpenter can serve the pool within the plan."""
    where = f"pools.{pool.name}"
    if pool.kind != "karpenter":
        raise BadInput(where, f"kind is {pool.kind}", limit="karpenter", way_out="give managed pools to GpuNodeGroup")
    if not pool.offers or not pool.zones:
        raise BadInput(where, "has no instance type or no zone", way_out="allow more GPUs or zones in capacity")
    if pool.gpu_limit < 1:
        raise BadInput(where, f"GPU limit {pool.gpu_limit}", limit="at least 1", way_out="leave the pool out")
    lifetime_of(pool)


def lifetime_of(pool: NodePoolPlan) -> NodeLifetime:
    """Return the lifetime of the pool's nodes; ``check_pool`` refuses a pool without one."""
    if pool.lifetime is None:
        raise BadInput(f"pools.{pool.name}", "has no lifetime", way_out="take the pools of a StackPlan")
    return pool.lifetime


def requirements(pool: NodePoolPlan) -> list[dict[str, object]]:
    """Return what a machine of the pool must be; nothing is left to Karpenter that the plan has priced."""
    values: dict[str, Sequence[str]] = {
        "kubernetes.io/arch": ["amd64"],
        "karpenter.sh/capacity-type": [one for one in (pool.capacity_type, pool.fallback_capacity_type) if one],
        "node.kubernetes.io/instance-type": [offer.instance_type for offer in pool.offers],
        ZONE_ID_LABEL: sorted(pool.zones),
    }
    if pool.karpenter_gpu_name:
        values["karpenter.k8s.aws/instance-gpu-name"] = [pool.karpenter_gpu_name]
    return [{"key": key, "operator": "In", "values": list(value)} for key, value in sorted(values.items())]


def node_pool(pool: NodePoolPlan, node_class: str) -> dict[str, object]:
    """Return the spec of the NodePool.

    ``WhenEmpty``: a node that serves is never consolidated. Expiry evicts, so it comes with a termination grace
    period; drifted nodes are replaced one at a time, and only when the pinned image or the pool itself changes.
    """
    lifetime = lifetime_of(pool)
    return {
        "weight": lifetime.weight,
        "limits": {GPU_RESOURCE: str(pool.gpu_limit)},
        "disruption": {
            "consolidationPolicy": "WhenEmpty",
            "consolidateAfter": minutes(lifetime.consolidate_after_s),
            "budgets": [
                {"nodes": "100%", "reasons": ["Empty"]},
                {"nodes": "1", "reasons": ["Drifted"]},
            ],
        },
        "template": {
            "metadata": {"labels": node_labels(pool)},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": node_class},
                "requirements": requirements(pool),
                "taints": [{"key": pool.taint_key, "value": pool.taint_value, "effect": "NoSchedule"}],
                "expireAfter": f"{lifetime.expire_after_h}h",
                "terminationGracePeriod": minutes(lifetime.termination_s),
            },
        },
    }


def node_class(
    pool: NodePoolPlan, *, ami_alias: str, cluster_name: object, node_role_name: object, tags: Mapping[str, str]
) -> dict[str, object]:
    """Return the spec of the EC2NodeClass: pinned image, encrypted root, NVMe as RAID0, discovery by tag.

    ``cluster_name`` and ``node_role_name`` may be outputs; they are only placed.
    """
    return {
        "amiSelectorTerms": [{"alias": ami_alias}],
        "role": node_role_name,
        "subnetSelectorTerms": [{"tags": {DISCOVERY_TAG: cluster_name}}],
        "securityGroupSelectorTerms": [{"tags": {DISCOVERY_TAG: cluster_name}}],
        "blockDeviceMappings": [node.root_volume(pool.disk)],
        "instanceStorePolicy": "RAID0",
        "metadataOptions": node.metadata_options(),
        "userData": node.user_data(node.node_config(local_disks=False)),
        "tags": named(tags, pool.name),
    }
