"""Rules about nodes and what runs on them.

What does not live here: what they cost (``cost``).
"""
