"""How a checkpoint stores its weights: quantisation methods, their formats, which layers each covers.

What does not live here: shapes of models (``models.families``) and anything that downloads.
"""
