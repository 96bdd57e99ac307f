"""Weights: the bucket and its readers (AWS), and the jobs that fill it (any cluster)."""
