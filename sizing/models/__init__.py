"""What a model is: its weights, the KV cache of a token and the parallel sizes that divide it, from ``config.json``.

What does not live here: what an engine does with it (``engine``, ``memory``, ``performance``), and where its file is
found (``catalogue``).
"""
