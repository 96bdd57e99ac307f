"""The VPC: subnets by zone, NAT gateways, endpoints, flow logs. Which zones is a decision of ``sizing.nodes.zones``."""
