"""NodePool and EC2NodeClass of each pool that Karpenter buys."""
