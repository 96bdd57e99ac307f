"""The half of the operators that any cluster can take: namespaces, Helm releases, storage class, secret store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from components.cluster.operators import documents
from components.common.charts import ChartVersion, Installed, installed
from components.common.generated_secret import generated_secret
from components.common.kubernetes import EXTERNAL_SECRETS_API, Document
from components.common.well_known import SECRET_STORE


@dataclass(frozen=True, kw_only=True)
class OperatorReleasesArgs:
    """Pinned charts of the operators to install, and what their cluster gives them.

    ``values`` are the chart values by operator, ``storage_class`` the fields of the default class of volumes,
    ``secret_store`` the spec of the store that ExternalSecrets name, ``needed`` what an operator waits for besides
    the operators that it needs (an identity in a cloud).
    """

    charts: Mapping[str, ChartVersion]
    values: Mapping[str, Document]
    storage_class: Document
    secret_store: Document
    needed: Mapping[str, Sequence[pulumi.Resource]] = field(default_factory=dict)


class OperatorReleases:
    """Releases in the order in which they need each other; all are children of ``opts.parent``."""

    releases: dict[str, kubernetes.helm.v3.Release]

    def __init__(self, name: str, args: OperatorReleasesArgs, opts: pulumi.ResourceOptions) -> None:
        self._name, self._args, self._child = name, args, opts
        self._namespaces: dict[str, kubernetes.core.v1.Namespace] = {}
        self._needed = {operator: list(resources) for operator, resources in args.needed.items()}
        self._storage = kubernetes.storage.v1.StorageClass(f"{name}-storage", **args.storage_class, opts=opts)
        self.releases = {}
        installed = [operator for operator in documents.INSTALL_ORDER if operator in args.charts]
        spaces = documents.own_namespaces(installed)
        if documents.LOAD_BALANCERS not in installed:
            self._make_namespaces(spaces)
        for operator in installed:
            self.releases[operator] = self._release(operator)
            if operator == documents.LOAD_BALANCERS:
                self._make_namespaces(spaces)
            if operator == "external-secrets":
                self._secret_store()
                if "kube-prometheus-stack" in installed:
                    self._needed["kube-prometheus-stack"] = [self._grafana_secret()]

    def _after(self, *needed: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self._child.parent, depends_on=list(needed))

    def _before(self, operator: str) -> list[pulumi.Resource]:
        spec = documents.OPERATORS[operator]
        namespaces = [self._namespaces[spec.namespace]] if spec.namespace in self._namespaces else []
        earlier = [self.releases[needed] for needed in spec.after if needed in self.releases]
        return [self._storage, *namespaces, *self._needed.get(operator, []), *earlier]

    def _make_namespaces(self, spaces: Sequence[str]) -> None:
        self._namespaces = {space: self._namespace(space) for space in spaces}

    def _namespace(self, namespace: str) -> kubernetes.core.v1.Namespace:
        level = documents.POD_SECURITY.get(namespace, "baseline")
        # A namespace ends only when the controller has removed the load balancers of its Services.
        controller = [self.releases[documents.LOAD_BALANCERS]] if documents.LOAD_BALANCERS in self.releases else []
        return kubernetes.core.v1.Namespace(
            f"{self._name}-{namespace}",
            metadata={"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": level}},
            opts=self._after(*controller),
        )

    def _release(self, operator: str) -> kubernetes.helm.v3.Release:
        place = Installed(
            release=operator,
            namespace=documents.OPERATORS[operator].namespace,
            values=self._args.values[operator],
            timeout_s=900,
        )
        chart, parent = self._args.charts[operator], self._child.parent
        return installed(f"{self._name}-{operator}", chart, place, parent=parent, after=self._before(operator))

    def _secret_store(self) -> None:
        kubernetes.apiextensions.CustomResource(
            f"{self._name}-secret-store",
            api_version=EXTERNAL_SECRETS_API,
            kind="ClusterSecretStore",
            metadata={"name": SECRET_STORE},
            spec=self._args.secret_store,
            opts=self._after(self.releases["external-secrets"]),
        )

    def _grafana_secret(self) -> kubernetes.apiextensions.CustomResource:
        namespace = documents.OPERATORS["kube-prometheus-stack"].namespace
        return generated_secret(
            generator=f"{self._name}-grafana-password",
            secret=f"{self._name}-grafana-secret",
            metadata={"name": documents.GRAFANA_SECRET, "namespace": namespace},
            templates={"admin-user": "admin", "admin-password": "{{ .password }}"},
            opts=self._after(self.releases["external-secrets"], self._namespaces[namespace]),
        )
