"""The real Karpenter over simulated machines: what it is offered, the node class that it reads, its process.

What does not live here: nodes that EKS buys, volumes and what a pod asks for (``simulated``); the control plane that
Karpenter talks to (``control_plane``).
"""
