"""Programs for developers: they write committed facts and pages from recorded sources, and check the house.

What does not live here: anything that a user runs (``cli``) and the measuring of accuracy or speed (``benchmarks``).
"""
