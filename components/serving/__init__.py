"""What answers requests: the namespace, one model service per model, the gateway before them.

What does not live here: weights and vectors (``data``), and any figure of a pod (``sizing.serving``).
"""
