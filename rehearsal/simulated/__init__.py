"""What has no real part in a rehearsal: nodes and the groups that EKS buys, their volumes, the readiness of their pods.

What does not live here: the control plane, which is real (``control_plane``), and Karpenter, which is too
(``karpenter``).
"""
