"""What has no real part in a rehearsal: nodes, what buys them, their volumes and the readiness of their pods.

What does not live here: the control plane, which is real (``control_plane``).
"""
