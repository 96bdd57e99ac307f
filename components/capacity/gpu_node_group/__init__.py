"""The on-demand floor of one model: an EKS managed node group."""
