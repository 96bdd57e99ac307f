"""How good the estimates and plans are, against measurements, simulations and other tools; one package a subject.

What does not live here: tests (``tests``), generators of committed files (``tools``), and anything that ships.
"""
