"""What watches and limits a running stack: the budget with its alarms and its freeze.

What does not live here: what the budget is compared with (``sizing.cost``).
"""
