"""What start-up logs of vLLM say, by version: lines, settings, wordings.

What does not live here: what is made of it (``observe.measured``, ``observe.verdict``).
"""
