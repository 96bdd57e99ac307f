"""Which nodes are bought: pools on demand and on spot, their zones, quotas, what shares a node, what a loss takes.

What does not live here: which option wins (``planning``) and the resources that make the nodes (``components``).
"""
