"""Parts that several families are built from: fields, layers, windows, experts, states, encoders, and the registry.

What does not live here: the families themselves, one file each in ``models/families``.
"""
