"""Rules about money.

What does not live here: prices (``policies.facts.prices``).
"""
