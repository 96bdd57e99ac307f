"""Which plan is the cheapest that meets the objectives: request, search, shared nodes, refusals, explanation.

What does not live here: how an engine's memory and speed are estimated (``memory``, ``performance``).
"""
