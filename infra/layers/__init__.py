"""One file a layer of the program: which components a stack gets, wired from settings and plan.

What does not live here: how a component is built (``components``), any figure (``sizing``).
"""
