"""One served model: its Deployment and everything that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from components.common.arguments import require_list, require_text
from components.common.generated_secret import generated_secret
from components.common.kubernetes import labels, seconds
from components.common.well_known import EVERYWHERE, GATEWAY_NAMESPACE, MONITORING_NAMESPACE, PROMETHEUS_ADDRESS
from components.serving.model_service import documents
from components.serving.model_service.pod import COMPONENT, key_secret, launch_config
from sizing.plan import NodePoolPlan, ServingPlan


@dataclass(frozen=True, kw_only=True)
class ModelServiceArgs:
    """What a served model needs.

    ``image`` is the runtime image by digest, ``bucket`` the model store, ``namespace`` an existing namespace.
    ``service_account`` is the name that the Pod Identity association of the model store's reader role names;
    by default the model's name. ``https_egress_cidrs`` may be narrowed to the ranges of S3.
    """

    plan: ServingPlan
    pools: tuple[NodePoolPlan, ...]
    namespace: str
    image: pulumi.Input[str]
    bucket: pulumi.Input[str]
    region: str
    prometheus_address: str = PROMETHEUS_ADDRESS
    gateway_namespace: str = GATEWAY_NAMESPACE
    monitoring_namespace: str = MONITORING_NAMESPACE
    service_account: str | None = None
    https_egress_cidrs: tuple[str, ...] = EVERYWHERE
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a plan that one Deployment cannot run, names without text, and bad lists."""
        documents.check_supported(self.plan)
        require_text("modelService.namespace", self.namespace)
        require_text("modelService.region", self.region)
        require_list("modelService.httpsEgressCidrs", self.https_egress_cidrs)


class ModelService(pulumi.ComponentResource):
    """Deployment, Service, disruption budget, identity, key, launch.json, autoscaling, network policy, scraping.

    Outputs: ``service_name``, ``service_account``, ``key_secret`` (Secret with the engine's key, generated in the
    cluster) and ``deployment`` (the escape hatch).
    """

    service_name: pulumi.Output[str]
    service_account: pulumi.Output[str]
    key_secret: pulumi.Output[str]
    deployment: kubernetes.apps.v1.Deployment

    def __init__(self, name: str, args: ModelServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:ModelService", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        account = self._identity()
        key = self._engine_key()
        config = self._launch_config()
        self.deployment = self._deployment(account, [config, key])
        service = self._service()
        self._protection()
        self._scaling()
        self.service_name = service.metadata["name"]
        self.service_account = account.metadata["name"]
        self.key_secret = pulumi.Output.from_input(key_secret(args.plan.name))
        self.register_outputs(
            {
                "serviceName": self.service_name,
                "serviceAccount": self.service_account,
                "keySecret": self.key_secret,
            }
        )

    def _meta(self, object_name: str) -> dict[str, object]:
        args = self._args
        return {
            "name": object_name,
            "namespace": args.namespace,
            "labels": labels(args.plan.name, COMPONENT, args.labels),
        }

    def _identity(self) -> kubernetes.core.v1.ServiceAccount:
        return kubernetes.core.v1.ServiceAccount(
            f"{self._name}-account",
            metadata=self._meta(self._args.service_account or self._args.plan.name),
            automount_service_account_token=False,
            opts=self._child,
        )

    def _engine_key(self) -> kubernetes.apiextensions.CustomResource:
        """Make a key per engine inside the cluster: it is in no state file, and two models never share one."""
        return generated_secret(
            generator=f"{self._name}-key-generator",
            secret=f"{self._name}-key",
            metadata=self._meta(key_secret(self._args.plan.name)),
            templates={"api-key": "{{ .password }}", "credential": "Bearer {{ .password }}"},
            opts=self._child,
        )

    def _launch_config(self) -> kubernetes.core.v1.ConfigMap:
        object_name, content = launch_config(self._args.plan)
        return kubernetes.core.v1.ConfigMap(
            f"{self._name}-launch",
            metadata=self._meta(object_name),
            immutable=True,
            data={"launch.json": content},
            opts=self._child,
        )

    def _deployment(
        self, account: kubernetes.core.v1.ServiceAccount, needed: list[pulumi.Resource]
    ) -> kubernetes.apps.v1.Deployment:
        args = self._args
        budget = seconds(args.plan.rollout.await_s)
        return kubernetes.apps.v1.Deployment(
            f"{self._name}-engine",
            metadata=self._meta(args.plan.name),
            spec=documents.deployment(
                args.plan,
                args.pools,
                image=args.image,
                bucket=args.bucket,
                region=args.region,
                service_account=args.service_account or args.plan.name,
                extra_labels=args.labels,
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[account, *needed],
                ignore_changes=["spec.replicas"],  # the autoscaler owns it after creation
                custom_timeouts=pulumi.CustomTimeouts(create=budget, update=budget),
            ),
        )

    def _service(self) -> kubernetes.core.v1.Service:
        # A model at zero replicas has no endpoint to wait for, and the Deployment is awaited anyway.
        meta = {**self._meta(self._args.plan.name), "annotations": {"pulumi.com/skipAwait": "true"}}
        return kubernetes.core.v1.Service(
            f"{self._name}-service", metadata=meta, spec=documents.service(self._args.plan), opts=self._child
        )

    def _protection(self) -> None:
        args = self._args
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{self._name}-disruption",
            metadata=self._meta(args.plan.name),
            spec=documents.disruption_budget(args.plan),
            opts=self._child,
        )
        kubernetes.networking.v1.NetworkPolicy(
            f"{self._name}-network",
            metadata=self._meta(args.plan.name),
            spec=documents.network_policy(
                args.plan,
                gateway_namespace=args.gateway_namespace,
                monitoring_namespace=args.monitoring_namespace,
                https_cidrs=args.https_egress_cidrs,
            ),
            opts=self._child,
        )

    def _scaling(self) -> None:
        args = self._args
        after_engine = pulumi.ResourceOptions(parent=self, depends_on=[self.deployment])
        kubernetes.apiextensions.CustomResource(
            f"{self._name}-monitor",
            api_version="monitoring.coreos.com/v1",
            kind="PodMonitor",
            metadata=self._meta(args.plan.name),
            spec=documents.pod_monitor(args.plan),
            opts=self._child,
        )
        kubernetes.apiextensions.CustomResource(
            f"{self._name}-scaling",
            api_version="keda.sh/v1alpha1",
            kind="ScaledObject",
            metadata=self._meta(args.plan.name),
            spec=documents.scaled_object(args.plan, args.namespace, args.prometheus_address),
            opts=after_engine,
        )
