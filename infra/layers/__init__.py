"""One file per layer of the program: the components of a stack, wired from settings and plan.

What does not live here: how a component is built (``components``), any figure (``sizing``).
"""
