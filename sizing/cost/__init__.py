"""What it costs: bill lines, transfer, spot prices and interruptions, purchase terms, hosted APIs, the budget.

What does not live here: what is bought (``planning``, ``nodes``); prices are facts of the ``catalogue``.
"""
