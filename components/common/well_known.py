"""Names and addresses inside a cluster that several components agree on."""

from __future__ import annotations

GATEWAY_NAMESPACE = "envoy-gateway-system"
MONITORING_NAMESPACE = "monitoring"
PROMETHEUS_ADDRESS = f"http://monitoring-prometheus.{MONITORING_NAMESPACE}.svc.cluster.local:9090"
SECRET_STORE = "aws-secrets-manager"  # noqa: S105 - the name of the ClusterSecretStore
EVERYWHERE = ("0.0.0.0/0",)
"""Egress by HTTPS: S3, the Hub and AWS answer from public addresses that change."""
