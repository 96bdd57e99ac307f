"""Every option of one model: checkpoint, GPU, parallel sizes, engine settings, instance type, replicas.

Exact bounds end the search early. What does not live here: which of them a stack takes (``planning.planner``) and what
models share (``planning.sharing``).
"""
