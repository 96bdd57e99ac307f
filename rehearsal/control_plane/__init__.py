"""The real control plane: API server, scheduler, controllers and etcd as processes, and the objects in it.

What does not live here: nodes and their pods, which are simulated (``simulated``).
"""
