"""What Kubernetes gets for a replica: requests, disk, probes, drain, autoscaling, launch file; and the vector store.

What does not live here: the objects themselves (``components``), the nodes that they run on (``nodes``).
"""
