"""How weights are stored: quantisation as checkpoints state it and the engine keeps it, and headers of checkpoints.

What lives here: bytes of a matrix under a quantisation, which layers a checkpoint leaves alone, and the exact contents
of safetensors files. What does not: shapes of models (``sizing.families``) and anything that downloads.
"""
