"""A namespace that starts closed: restricted pods, no traffic that nobody allowed, no GPU beyond the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from components.common.arguments import require_number, require_text
from components.serving.namespace import documents


@dataclass(frozen=True, kw_only=True)
class NamespaceArgs:
    """What a namespace needs: its name and, where GPUs are used, the most of them (sum of the pools' limits).

    ``pod_security`` is the Pod Security Standard that is enforced. The namespace of Envoy's proxies or of
    node agents needs another than ``restricted``.
    """

    namespace: str
    gpu_quota: int | None = None
    pod_security: str = "restricted"
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a namespace without name and a quota that is no number of GPUs."""
        require_text("namespace.namespace", self.namespace)
        require_text("namespace.podSecurity", self.pod_security)
        if self.gpu_quota is not None:
            require_number("namespace.gpuQuota", self.gpu_quota, at_least=0, at_most=100_000)


class Namespace(pulumi.ComponentResource):
    """Namespace, default-deny NetworkPolicy and GPU ResourceQuota. Output: ``namespace`` (its name)."""

    namespace: pulumi.Output[str]

    def __init__(self, name: str, args: NamespaceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:Namespace", name, None, opts)
        namespace = kubernetes.core.v1.Namespace(
            f"{name}-namespace",
            metadata={"name": args.namespace, "labels": documents.namespace_labels(args.pod_security, args.labels)},
            opts=pulumi.ResourceOptions(parent=self),
        )
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        kubernetes.networking.v1.NetworkPolicy(
            f"{name}-deny",
            metadata={"name": documents.DENY, "namespace": args.namespace},
            spec=documents.default_deny(),
            opts=inside,
        )
        if args.gpu_quota is not None:
            kubernetes.core.v1.ResourceQuota(
                f"{name}-gpus",
                metadata={"name": documents.QUOTA, "namespace": args.namespace},
                spec=documents.gpu_quota(args.gpu_quota),
                opts=inside,
            )
        self.namespace = namespace.metadata["name"]
        self.register_outputs({"namespace": self.namespace})
