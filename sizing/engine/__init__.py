"""How vLLM runs a model: its version's rules and defaults, the resolved settings, the arguments, what it loads.

What does not live here: the GiB that these take (``memory``) and the speed that they give (``performance``).
"""
