"""Nodes that models run on: managed node groups of the on-demand floor, Karpenter pools for spot and burst.

What does not live here: how many nodes and of which type (``sizing.nodes``), and the controller that buys them
(``cluster``).
"""
