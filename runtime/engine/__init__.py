"""The engine image: launcher, warm-up, readiness, drain.

What does not live here: anything of the tools image; this folder is ``runtime`` in its image, so imports are relative.
"""
