"""Rules about who can reach a stack's endpoints, and about secrets and images.

What does not live here: how much of it there is (``capacity``).
"""
