"""Components of the cluster stack: network, EKS, registry, operators, the Karpenter controller. They change rarely.

What does not live here: nodes that models run on (``capacity``) and anything that a serving stack owns.
"""
