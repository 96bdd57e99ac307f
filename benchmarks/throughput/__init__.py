"""How far off throughput and latency are, ours and other tools', on published points; the fit of our constants.

What does not live here: the estimate (``sizing.performance``).
"""
