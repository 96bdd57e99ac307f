"""Names on nodes that plan, documents, policies and rehearsal agree on."""

from __future__ import annotations

POOL_LABEL = "tonnage.dev/pool"
"""Label of a node: the pool that bought it."""
GPU_RESOURCE = "nvidia.com/gpu"
"""Extended resource of the NVIDIA device plugin, and key of the taint that keeps other pods off its nodes."""
