"""What may stay in the account after a destroy, and by which tags it is found."""

from __future__ import annotations

from dataclasses import dataclass

from infra.settings.cluster import ClusterSettings
from infra.settings.names import environment
from infra.settings.schema import StackSettings


@dataclass(frozen=True, kw_only=True)
class Search:
    """One tag to look for (``value`` None: any), and who puts it on what it makes."""

    key: str
    value: str | None
    made_by: str


def cluster_name(stack: str) -> str:
    """Return the name of the EKS cluster of a cluster stack."""
    return f"tonnage-{environment(stack)}"


def searches(stack: str, settings: StackSettings) -> tuple[Search, ...]:
    """Return the tags of a stack: its own, and for a cluster stack those of the controllers that ran in it.

    Sources: AWS Load Balancer Controller, "Resource tags"; EBS CSI driver, "Tagging" (``k8s-tag-cluster-id``); Amazon
    VPC CNI, "ENI tags"; Karpenter, NodeClasses ("Tags").
    """
    own = Search(key="tonnage:stack", value=stack, made_by="the stack")
    if not isinstance(settings, ClusterSettings):
        return (own,)
    name = cluster_name(stack)
    return (
        own,
        Search(key="elbv2.k8s.aws/cluster", value=name, made_by="the load balancer controller"),
        Search(key=f"kubernetes.io/cluster/{name}", value=None, made_by="the volume driver or Karpenter"),
        Search(key="cluster.k8s.amazonaws.com/name", value=name, made_by="the VPC CNI"),
        Search(key="eks:eks-cluster-name", value=name, made_by="Karpenter"),
    )


def log_groups(stack: str, settings: StackSettings) -> tuple[str, ...]:
    """Return the starts of the names of log groups that a service makes again, without any tag."""
    return (f"/aws/eks/{cluster_name(stack)}/",) if isinstance(settings, ClusterSettings) else ()
