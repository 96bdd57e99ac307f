"""Names on nodes that plan, documents, policies and rehearsal agree on."""

from __future__ import annotations

POOL_LABEL = "tonnage.dev/pool"
"""Label of a node: the pool that bought it."""
ZONE_ID_LABEL = "topology.k8s.aws/zone-id"
"""Zone of a node by its id, which is the same in every account; EKS labels nodes with it from 1.30 on (release notes).

What pools ask for and what replicas spread over must be one label: Karpenter takes as domains of a spread all values of
its key, also those that a requirement of the pools on another key forbids (kubernetes-sigs/karpenter#3272).
"""
ZONE_LABEL = "topology.kubernetes.io/zone"
"""Zone of a node by its name, which each account maps to ids in its own way; volumes are bound to it."""
GPU_RESOURCE = "nvidia.com/gpu"
"""Extended resource of the NVIDIA device plugin, and key of the taint that keeps other pods off its nodes."""
