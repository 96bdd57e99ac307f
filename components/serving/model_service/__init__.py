"""One served model: deployment, service, autoscaler, monitor. Its figures are those of the plan."""
