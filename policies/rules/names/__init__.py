"""Rules about names, in AWS and in the cluster.

What does not live here: who owns an object of a name (``kubernetes``).
"""
