"""The tools image: weight ingest and snapshots.

What does not live here: anything of the engine image; this folder is ``runtime`` in its image, so imports are relative.
"""
