"""Whether plans are the cheapest (brute force), hold what they promise (simulation), and what other tools pick.

What does not live here: the planner (``sizing.planning``).
"""
