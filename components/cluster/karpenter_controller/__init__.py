"""The Karpenter controller with its queue and permissions. The pools that it serves are in ``capacity``."""
