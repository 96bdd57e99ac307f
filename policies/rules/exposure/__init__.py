"""Rules about what can be reached, and by whom.

What does not live here: how much of it there is (``capacity``).
"""
