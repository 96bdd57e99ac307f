"""What a running engine reports, against what was predicted and planned.

What lives here: reading of start-up logs and of ``/metrics``, the comparison with the estimate, and the advice that
follows for a stack. What does not: opening files or connections, which is the command's.
"""
