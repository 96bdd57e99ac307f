"""Third-party operators on EKS: gateway, autoscaler, device plugin, monitoring, secrets, load balancer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as kubernetes

from components.cluster.operators import documents
from components.cluster.operators.policy import IDENTITIES
from components.cluster.operators.releases import OperatorReleases, OperatorReleasesArgs
from components.common.arguments import require_tags, require_text
from components.common.charts import ChartVersion
from components.common.pod_identity import PodIdentity, pod_identity
from components.common.well_known import PROMETHEUS_ADDRESS, SECRET_STORE


@dataclass(frozen=True, kw_only=True)
class OperatorsArgs:
    """Pinned charts by operator name (``documents.operators.OPERATORS``) and the cluster they run in.

    ``secrets_prefix`` is the only part of Secrets Manager that External Secrets may read (``<prefix>/*``).
    ``registry_mirror`` serves images of Docker Hub, ``permissions_boundary`` is the ARN that bounds every role.
    """

    charts: Mapping[str, ChartVersion]
    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    region: str
    secrets_prefix: str
    tags: Mapping[str, str]
    registry_mirror: str | None = None
    permissions_boundary: str | None = None

    def __post_init__(self) -> None:
        """Refuse unknown or missing charts."""
        require_text("operators.region", self.region)
        require_text("operators.secretsPrefix", self.secrets_prefix)
        require_tags("operators.tags", self.tags)
        documents.check_charts(self.charts)


class Operators(pulumi.ComponentResource):
    """Helm releases with their namespaces, identities, the storage class and the secret store.

    ``prometheus_address`` is the in-cluster address of the metrics that the autoscaler reads.
    """

    prometheus_address: str
    storage_class: str
    secret_store: str
    releases: dict[str, kubernetes.helm.v3.Release]

    def __init__(self, name: str, args: OperatorsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:Operators", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        identities = {operator: self._identity(operator) for operator in sorted(IDENTITIES)}
        released = OperatorReleasesArgs(
            charts=args.charts,
            values=documents.values(
                cluster_name=args.cluster_name,
                region=args.region,
                vpc_id=args.vpc_id,
                registry_mirror=args.registry_mirror,
            ),
            storage_class=documents.storage_class(),
            secret_store=documents.secret_store(args.region),
            needed={operator: identity.ready for operator, identity in identities.items()},
        )
        self.releases = OperatorReleases(name, released, self._child).releases
        self.prometheus_address = PROMETHEUS_ADDRESS
        self.storage_class = documents.STORAGE_CLASS
        self.secret_store = SECRET_STORE
        self.register_outputs(
            {
                "prometheusAddress": self.prometheus_address,
                "storageClass": self.storage_class,
                "secretStore": self.secret_store,
            }
        )

    def _identity(self, operator: str) -> PodIdentity:
        """Register what AWS adds to an operator that calls it."""
        args, identity = self._args, IDENTITIES[operator]
        return pod_identity(
            f"{self._name}-{operator}",
            role_name=pulumi.Output.concat(args.cluster_name, "-", operator),
            cluster_name=args.cluster_name,
            cluster_arn=args.cluster_arn,
            namespace=documents.OPERATORS[operator].namespace,
            service_account=identity.service_account,
            policy=pulumi.Output.from_input(args.cluster_arn).apply(
                lambda arn: identity.policy(arn, args.secrets_prefix)
            ),
            permissions_boundary=args.permissions_boundary,
            tags=args.tags,
            opts=self._child,
        )
