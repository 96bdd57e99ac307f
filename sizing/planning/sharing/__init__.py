"""Which models share nodes: candidates for shared node pools, and the partition of a stack's models that costs least.

What does not live here: how pods of several models pack on nodes (``nodes.shared_nodes``).
"""
