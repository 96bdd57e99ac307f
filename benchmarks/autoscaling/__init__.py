"""Whether the autoscaler keeps the promise: simulated days of whole services."""
