"""How far off the memory estimate and other estimators are, on recorded starts of vLLM; the fit of its constants.

What does not live here: the estimate (``sizing.memory``).
"""
