"""Every version that a deployment installs, one line each; images by digest.

Nothing else in the repository names a version of a cluster component but ``kubernetes_versions.json``: what follows
the Kubernetes version (EKS add-ons, node image) is there. A test refuses floating names.
"""

from __future__ import annotations

from collections.abc import Mapping

from components.common.charts import KEPT, ChartVersion, CrdChart
from infra.kubernetes_versions import newest_version

KUBERNETES = newest_version()
GPU_AMI_TYPE = "AL2023_x86_64_NVIDIA"

KARPENTER = ChartVersion(
    chart="oci://public.ecr.aws/karpenter/karpenter",
    version="1.14.1",
    crds=CrdChart(
        name="karpenter-crd",
        chart="oci://public.ecr.aws/karpenter/karpenter-crd",
        version="1.14.1",
        values={"additionalAnnotations": KEPT},
    ),
)
CHARTS: Mapping[str, ChartVersion] = {
    "aws-load-balancer-controller": ChartVersion(
        chart="aws-load-balancer-controller",
        version="3.5.0",
        repository="https://aws.github.io/eks-charts",
        crds_command="helm show crds aws-load-balancer-controller --repo https://aws.github.io/eks-charts --version {}",
    ),
    "dcgm-exporter": ChartVersion(
        chart="dcgm-exporter", version="4.8.3", repository="https://nvidia.github.io/dcgm-exporter/helm-charts"
    ),
    # Its chart of definitions is larger than a release may be (envoyproxy/gateway#6105).
    "envoy-gateway": ChartVersion(
        chart="oci://docker.io/envoyproxy/gateway-helm",
        version="v1.9.1",
        crds_command="helm show crds oci://docker.io/envoyproxy/gateway-helm --version {}",
    ),
    "external-secrets": ChartVersion(
        chart="external-secrets", version="1.3.2", repository="https://charts.external-secrets.io"
    ),
    "keda": ChartVersion(chart="keda", version="2.21.0", repository="https://kedacore.github.io/charts"),
    "kube-prometheus-stack": ChartVersion(
        chart="kube-prometheus-stack",
        version="88.6.0",
        repository="https://prometheus-community.github.io/helm-charts",
        crds=CrdChart(
            name="prometheus-operator-crds",
            chart="prometheus-operator-crds",
            version="31.0.0",  # operator v0.93.0, as kube-prometheus-stack 88
            values={"crds": {"annotations": KEPT}},
        ),
    ),
    "nvidia-device-plugin": ChartVersion(
        chart="nvidia-device-plugin", version="0.20.0", repository="https://nvidia.github.io/k8s-device-plugin"
    ),
}

QDRANT_IMAGE = "qdrant/qdrant:v1.19.1@sha256:12364fe851b9f17356fc88189fc06d1b521262e04659ec7345975b00c9246a10"

PLACEHOLDER_DIGEST = "sha256:" + "0" * 64
"""Digest in a stack file until CI has built the runtime image; previews warn about it."""
