"""Third-party operators of the cluster: gateway, autoscaler, device plugin, monitoring, secrets, load balancer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes

from .arguments import require_tags, require_text
from .charts import ChartVersion
from .documents import operators as document
from .documents.iam import assume_role_by_pods
from .documents.kubernetes import generated_key_secret, generated_password
from .documents.tags import named


@dataclass(frozen=True, kw_only=True)
class OperatorsArgs:
    """Pinned charts by operator name (``documents.operators.OPERATORS``) and the cluster they run in.

    ``secrets_prefix`` is the only part of Secrets Manager that External Secrets may read (``<prefix>/*``).
    """

    charts: Mapping[str, ChartVersion]
    cluster_name: pulumi.Input[str]
    cluster_arn: pulumi.Input[str]
    vpc_id: pulumi.Input[str]
    region: str
    secrets_prefix: str
    tags: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse unknown or missing charts."""
        require_text("operators.region", self.region)
        require_text("operators.secretsPrefix", self.secrets_prefix)
        require_tags("operators.tags", self.tags)
        document.check_charts(self.charts)


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
        self._namespaces: dict[str, kubernetes.core.v1.Namespace] = {}
        self._needed = {operator: self._identity(operator) for operator in sorted(document.IDENTITIES)}
        self._storage = self._storage_class()
        self.releases = {}
        for operator in document.INSTALL_ORDER:
            self.releases[operator] = self._release(operator, self._before(operator))
            if operator == document.LOAD_BALANCERS:
                self._namespaces = {space: self._namespace(space) for space in document.own_namespaces()}
            if operator == "external-secrets":
                self._secret_store()
                self._needed["kube-prometheus-stack"] = self._grafana_secret()
        self.prometheus_address = document.PROMETHEUS_ADDRESS
        self.storage_class = document.STORAGE_CLASS
        self.secret_store = document.SECRET_STORE
        self.register_outputs(
            {
                "prometheusAddress": self.prometheus_address,
                "storageClass": self.storage_class,
                "secretStore": self.secret_store,
            }
        )

    def _before(self, operator: str) -> list[pulumi.Resource]:
        spec = document.OPERATORS[operator]
        namespaces = [self._namespaces[spec.namespace]] if spec.namespace in self._namespaces else []
        earlier = [self.releases[needed] for needed in spec.after]
        return [self._storage, *namespaces, *self._needed.get(operator, []), *earlier]

    def _namespace(self, namespace: str) -> kubernetes.core.v1.Namespace:
        level = document.POD_SECURITY.get(namespace, "baseline")
        return kubernetes.core.v1.Namespace(
            f"{self._name}-{namespace}",
            metadata={"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": level}},
            # A namespace ends only when the controller has removed the load balancers of its Services.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.releases[document.LOAD_BALANCERS]]),
        )

    def _storage_class(self) -> kubernetes.storage.v1.StorageClass:
        return kubernetes.storage.v1.StorageClass(f"{self._name}-storage", **document.storage_class(), opts=self._child)

    def _release(self, operator: str, after: list[pulumi.Resource]) -> kubernetes.helm.v3.Release:
        chart, spec = self._args.charts[operator], document.OPERATORS[operator]
        return kubernetes.helm.v3.Release(
            f"{self._name}-{operator}",
            name=operator,
            namespace=spec.namespace,
            chart=chart.chart,
            version=chart.version,
            repository_opts={"repo": chart.repository} if chart.repository else None,
            values=document.values(
                operator, cluster_name=self._args.cluster_name, region=self._args.region, vpc_id=self._args.vpc_id
            ),
            timeout=900,
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def _identity(self, operator: str) -> list[pulumi.Resource]:
        args, namespace = self._args, document.OPERATORS[operator].namespace
        cluster_arn = pulumi.Output.from_input(args.cluster_arn)
        role = aws.iam.Role(
            f"{self._name}-{operator}",
            name=pulumi.Output.concat(args.cluster_name, "-", operator),
            assume_role_policy=cluster_arn.apply(lambda arn: assume_role_by_pods(arn, namespace)),
            tags=named(args.tags, f"{self._name}-{operator}"),
            opts=self._child,
        )
        policy = document.IDENTITIES[operator].policy
        allowed = aws.iam.RolePolicy(
            f"{self._name}-{operator}",
            role=role.name,
            policy=cluster_arn.apply(lambda arn: policy(arn, args.secrets_prefix)),
            opts=self._child,
        )
        association = aws.eks.PodIdentityAssociation(
            f"{self._name}-{operator}",
            cluster_name=args.cluster_name,
            namespace=namespace,
            service_account=document.IDENTITIES[operator].service_account,
            role_arn=role.arn,
            tags=dict(args.tags),
            opts=self._child,
        )
        return [allowed, association]

    def _secret_store(self) -> None:
        kubernetes.apiextensions.CustomResource(
            f"{self._name}-secret-store",
            api_version=document.EXTERNAL_SECRETS_API,
            kind="ClusterSecretStore",
            metadata={"name": document.SECRET_STORE},
            spec=document.secret_store(self._args.region),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.releases["external-secrets"]]),
        )

    def _grafana_secret(self) -> list[pulumi.Resource]:
        name, namespace = document.GRAFANA_SECRET, document.OPERATORS["kube-prometheus-stack"].namespace
        after = [self.releases["external-secrets"], self._namespaces[namespace]]
        generator = kubernetes.apiextensions.CustomResource(
            f"{self._name}-grafana-password",
            api_version="generators.external-secrets.io/v1alpha1",
            kind="Password",
            metadata={"name": name, "namespace": namespace},
            spec=generated_password(),
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )
        secret = kubernetes.apiextensions.CustomResource(
            f"{self._name}-grafana-secret",
            api_version=document.EXTERNAL_SECRETS_API,
            kind="ExternalSecret",
            metadata={"name": name, "namespace": namespace},
            spec=generated_key_secret(name, name, {"admin-user": "admin", "admin-password": "{{ .password }}"}),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[generator]),
        )
        return [secret]
