"""What is kept: weights of models with the jobs that fetch them, vectors with their snapshots.

What does not live here: what reads them (``serving``).
"""
