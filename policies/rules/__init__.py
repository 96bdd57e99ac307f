"""One rule per file: a pure function from resources to violations, without SDK, plan or clock.

What does not live here: how resources are read (``policies.facts``), which rules run (``policies.registry``).
"""
