"""Whether the autoscaler keeps the objectives: simulated days of whole services.

What does not live here: the rules of the autoscaler (``sizing.serving.autoscaling``).
"""
