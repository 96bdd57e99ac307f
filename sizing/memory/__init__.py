"""What one engine takes of a GPU: weights, activations, CUDA graphs, KV cache; whether it fits, and what would make it.

What does not live here: the settings (``engine``), the traffic that the cache carries (``performance``).
"""
