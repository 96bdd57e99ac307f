"""Accuracy and speed against measurements and other tools: what is printed, and the pages of docs/reports.

What lives here: one package for what is measured, the recorded data, a simulator that shares no code with the planner.
What does not live here: programs that write facts of the catalogue (``tools.generators``), anything that ships.
"""
