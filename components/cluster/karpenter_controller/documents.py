"""The Karpenter controller: its chart values, and the events that its queue hears."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from components.common.tags import SYSTEM_NODE_SELECTOR

NAMESPACE = "kube-system"
SERVICE_ACCOUNT = "karpenter"
INTERRUPTION_EVENTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "health": {"source": ["aws.health"], "detail-type": ["AWS Health Event"]},
    "rebalance": {"source": ["aws.ec2"], "detail-type": ["EC2 Instance Rebalance Recommendation"]},
    "spot-interruption": {"source": ["aws.ec2"], "detail-type": ["EC2 Spot Instance Interruption Warning"]},
    "state-change": {"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"]},
}
"""EventBridge patterns that Karpenter reads from its queue (Karpenter documentation, Interruption)."""


MESSAGE_RETENTION_S = 300
"""A spot notice is of no use after two minutes; older messages only delay newer ones."""


def controller_values(cluster_name: object, queue_name: object) -> dict[str, object]:
    """Return the chart's values: two replicas on system nodes, the queue, nothing experimental."""
    return {
        "serviceAccount": {"name": SERVICE_ACCOUNT},
        "settings": {
            "clusterName": cluster_name,
            "interruptionQueue": queue_name,
            "featureGates": {"nodeRepair": True, "spotToSpotConsolidation": False, "staticCapacity": False},
        },
        "replicas": 2,
        "nodeSelector": {"kubernetes.io/os": "linux", **SYSTEM_NODE_SELECTOR},
        "controller": {
            "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        },
    }
