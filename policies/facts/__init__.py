"""What rules read from a graph of resources: pools, workloads, charges, prices; the same for mocks, previews and the
engine.

What does not live here: a verdict (``rules``).
"""
