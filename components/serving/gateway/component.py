"""The way in: a load balancer, Envoy proxies, one route per model, keys and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from components.common.arguments import require_list, require_number, require_tags, require_text
from components.common.kubernetes import labels, stored_secret
from components.common.well_known import GATEWAY_NAMESPACE, SECRET_STORE
from components.serving.gateway import documents
from sizing.plan.operation import GatewayPlan, RoutePlan

GATEWAY_API = "gateway.networking.k8s.io/v1"
ENVOY_API = "gateway.envoyproxy.io/v1alpha1"


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """What the gateway needs.

    ``namespace`` holds Gateway and policies, ``serving_namespace`` the routes beside their models. Callers' keys are
    entries of the Secret ``api_keys_secret`` (client name -> key); with ``api_keys_remote_key`` it is copied from
    that Secrets Manager entry through the ClusterSecretStore ``secret_store``. ``certificate_arn`` makes the load
    balancer speak TLS and is required for an ``internet-facing`` one. ``allowed_cidrs`` are the callers' networks.
    ``controller_namespace`` is where Envoy Gateway runs its proxies,
    ``registry_mirror`` what serves their image.
    """

    namespace: str
    serving_namespace: str
    plan: GatewayPlan
    api_keys_secret: str = "gateway-api-keys"  # noqa: S105 - the name of a Secret
    api_keys_remote_key: str | None = None
    secret_store: str = SECRET_STORE
    certificate_arn: pulumi.Input[str] | None = None
    scheme: Literal["internal", "internet-facing"] = "internal"
    allowed_cidrs: tuple[str, ...] = ()
    controller_namespace: str = GATEWAY_NAMESPACE
    registry_mirror: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a public address without TLS, no proxy, and bad lists."""
        documents.check_exposure(self.scheme, has_certificate=self.certificate_arn is not None)
        require_text("gateway.namespace", self.namespace)
        require_text("gateway.servingNamespace", self.serving_namespace)
        require_list("gateway.allowedCidrs", self.allowed_cidrs)
        require_number("gateway.plan.proxies", self.plan.proxies, at_least=1, at_most=50)
        require_tags("gateway.tags", self.tags)


class Gateway(pulumi.ComponentResource):
    """GatewayClass, EnvoyProxy with its load balancer, Gateway, policies, and per model a route with its limits.

    Outputs: ``gateway_name``, ``paths`` (model -> base path of its OpenAI API).
    """

    gateway_name: pulumi.Output[str]
    paths: pulumi.Output[Mapping[str, str]]

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tonnage:index:Gateway", name, None, opts)
        self._name, self._args = name, args
        gateway = self._gateway(self._class())
        guard = self._client_policies(gateway)
        for route in sorted(args.plan.routes, key=lambda each: each.model):
            self._route(route, gateway, guard)
        self.gateway_name = pulumi.Output.from_input(name)
        self.paths = pulumi.Output.from_input({route.model: documents.base_path(route) for route in args.plan.routes})
        self.register_outputs({"gatewayName": self.gateway_name, "paths": self.paths})

    def _object(
        self,
        suffix: str,
        kind: str,
        spec: Any,
        *,
        api: str = ENVOY_API,
        after: tuple[pulumi.Resource, ...] = (),
        **meta: Any,
    ) -> kubernetes.apiextensions.CustomResource:
        """Register one custom resource; ``meta`` overrides name and namespace."""
        metadata = {
            "name": self._name,
            "namespace": self._args.namespace,
            "labels": labels(self._name, "gateway"),
            **meta,
        }
        return kubernetes.apiextensions.CustomResource(
            f"{self._name}-{suffix}",
            api_version=api,
            kind=kind,
            metadata={key: value for key, value in metadata.items() if value is not None},
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )

    def _class(self) -> kubernetes.apiextensions.CustomResource:
        args = self._args
        proxy = self._object(
            "proxy",
            "EnvoyProxy",
            documents.envoy_proxy(
                args.plan,
                scheme=args.scheme,
                certificate_arn=args.certificate_arn,
                allowed_cidrs=args.allowed_cidrs,
                tags=args.tags,
                registry_mirror=args.registry_mirror,
            ),
        )
        spec = documents.gateway_class(self._name, args.namespace)
        return self._object("class", "GatewayClass", spec, api=GATEWAY_API, after=(proxy,), namespace=None)

    def _gateway(self, gateway_class: pulumi.Resource) -> kubernetes.apiextensions.CustomResource:
        args = self._args
        spec = documents.gateway(
            self._name, serving_namespace=args.serving_namespace, with_tls=args.certificate_arn is not None
        )
        return self._object("gateway", "Gateway", spec, api=GATEWAY_API, after=(gateway_class,))

    def _client_policies(self, gateway: pulumi.Resource) -> pulumi.Resource:
        """Register what holds for every caller; return the policy that asks for a key."""
        args = self._args
        needed: tuple[pulumi.Resource, ...] = (gateway,)
        if args.api_keys_remote_key is not None:
            spec = stored_secret(args.api_keys_secret, args.secret_store, args.api_keys_remote_key)
            keys = self._object("keys", "ExternalSecret", spec, api="external-secrets.io/v1", name=args.api_keys_secret)
            needed = (gateway, keys)
        guard = self._object(
            "auth", "SecurityPolicy", documents.security_policy(self._name, args.api_keys_secret), after=needed
        )
        self._object("clients", "ClientTrafficPolicy", documents.client_policy(self._name, args.plan), after=(gateway,))

        monitor = documents.proxy_monitor(self._name, args.controller_namespace)
        self._object("monitor", "PodMonitor", monitor, api="monitoring.coreos.com/v1", after=(gateway,))
        return guard

    def _route(self, route: RoutePlan, gateway: pulumi.Resource, guard: pulumi.Resource) -> None:
        args = self._args
        place = {"name": route.model, "namespace": args.serving_namespace, "labels": labels(route.model, "gateway")}
        key = self._object(f"{route.model}-key", "HTTPRouteFilter", documents.route_filter(route), **place)
        rule = documents.http_route(route, gateway=self._name, gateway_namespace=args.namespace)
        # The route adds the engine's key, so it must never exist without the policy that asks callers for theirs.
        needed = (gateway, guard, key)
        entry = self._object(f"{route.model}-route", "HTTPRoute", rule, api=GATEWAY_API, after=needed, **place)
        limits = documents.backend_policy(route, args.plan)
        self._object(f"{route.model}-limits", "BackendTrafficPolicy", limits, after=(entry,), **place)
