"""Rules about Kubernetes objects as such, whatever they are for.

What does not live here: who can reach them (``exposure``), what they need of nodes (``capacity``).
"""
