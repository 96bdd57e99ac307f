"""Documents of the way in: Gateway API objects and the policies of Envoy Gateway 1.9.

Times and limits are those of the plan (``sizing.serving.gateway``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from components.common.images import mirrored
from components.common.kubernetes import Document
from components.serving.model_service.pod import PORT, key_secret
from sizing.errors import BadInput
from sizing.nodes.labels import ZONE_LABEL
from sizing.plan.operation import GatewayPlan, RoutePlan

REQUEST_BUFFER = "4Mi"
"""A request can be sent again only while Envoy holds all of it; its own limit of 32 KiB is a prompt of some 8,000
tokens, so that a longer one would never wake a model."""

PORTS = {True: 443, False: 80}
"""Listener port with and without TLS at the load balancer."""

TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
"""TLS 1.2 and 1.3 with forward secrecy (Elastic Load Balancing documentation, security policies)."""

SERVICE_ANNOTATION = "service.beta.kubernetes.io/aws-load-balancer-"

PROXY_RESOURCES = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}
"""Answers are slow and few, so a proxy is idle most of the time; CPU is not limited. Two of them must fit beside the
operators on the smallest system nodes (two of two vCPU each)."""

PROXY_IMAGE = "docker.io/envoyproxy/envoy"
"""Repository of the proxies' image (Envoy Gateway's default)."""

DURATION_UNITS = ("h", 3600), ("m", 60), ("s", 1)


def duration(whole_s: int) -> str:
    """Return a Gateway API duration (GEP-2257): whole hours, minutes and seconds of at most five digits each."""
    rest, text = whole_s, ""
    for unit, size in DURATION_UNITS:
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def base_path(route: RoutePlan) -> str:
    """Return the base path of a model's OpenAI API at the gateway."""
    return f"/{route.model}/v1"


def check_exposure(scheme: str, *, has_certificate: bool) -> None:
    """Refuse a public load balancer that would carry keys and prompts in the clear."""
    if scheme == "internet-facing" and not has_certificate:
        raise BadInput(
            "gateway.scheme",
            "internet-facing without a certificate would send keys and prompts in the clear",
            way_out="set gateway.certificateArn, or keep the scheme internal",
        )


def gateway_class(name: str, namespace: str) -> Document:
    """Return the GatewayClass's spec: Envoy Gateway with our EnvoyProxy."""
    return {
        "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
        "parametersRef": {"group": "gateway.envoyproxy.io", "kind": "EnvoyProxy", "name": name, "namespace": namespace},
    }


def _service_annotations(
    plan: GatewayPlan, scheme: str, certificate_arn: Any, tags: Mapping[str, str]
) -> dict[str, Any]:
    """Return the annotations that the AWS Load Balancer Controller reads from the proxies' Service."""
    with_tls = certificate_arn is not None
    annotations: dict[str, Any] = {
        "type": "external",
        "nlb-target-type": "ip",
        "scheme": scheme,
        "target-group-attributes": f"deregistration_delay.timeout_seconds={plan.deregistration_s}",
        "attributes": "load_balancing.cross_zone.enabled=true,deletion_protection.enabled=false",
    }
    if with_tls:
        annotations |= {
            "ssl-cert": certificate_arn,
            "ssl-ports": str(PORTS[True]),
            "ssl-negotiation-policy": TLS_POLICY,
            "backend-protocol": "tcp",
        }
    else:
        # A TLS listener keeps its 350 s whatever is asked; only a TCP listener takes this attribute.
        annotations[f"listener-attributes.TCP-{PORTS[False]}"] = f"tcp.idle_timeout.seconds={plan.load_balancer_idle_s}"
    if tags:
        annotations["additional-resource-tags"] = ",".join(f"{key}={tags[key]}" for key in sorted(tags))
    return {f"{SERVICE_ANNOTATION}{key}": value for key, value in annotations.items()}


def _proxy_pods(replicas: int, registry_mirror: str | None) -> Document:
    # The tag is Envoy Gateway's own for its version.
    image = {"imageRepository": mirrored(PROXY_IMAGE, registry_mirror)} if registry_mirror else {}
    spread = {
        "maxSkew": 1,
        "topologyKey": ZONE_LABEL,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "proxy"}},
    }
    return {
        "replicas": replicas,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "pod": {
            "topologySpreadConstraints": [spread, {**spread, "topologyKey": "kubernetes.io/hostname"}],
        },
        "container": {
            **image,
            "resources": PROXY_RESOURCES,
        },  # its security context is hardened by Envoy Gateway itself
    }


def envoy_proxy(
    plan: GatewayPlan,
    *,
    scheme: str,
    certificate_arn: Any = None,
    allowed_cidrs: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    registry_mirror: str | None = None,
) -> Document:
    """Return the EnvoyProxy's spec: the proxies and the network load balancer in front of them."""
    service: Document = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "annotations": _service_annotations(plan, scheme, certificate_arn, tags or {}),
    }
    if allowed_cidrs:
        service["loadBalancerSourceRanges"] = sorted(allowed_cidrs)
    return {
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {
                "envoyDeployment": _proxy_pods(plan.proxies, registry_mirror),
                "envoyService": service,
                "envoyPDB": {"maxUnavailable": 1},
            },
        },
        "shutdown": {"drainTimeout": duration(plan.drain_s), "minDrainDuration": duration(plan.deregistration_s)},
        "telemetry": {"metrics": {"prometheus": {}}},
    }


def proxy_monitor(gateway: str, controller_namespace: str) -> Document:
    """Return the PodMonitor's spec of the proxies; waking a sleeping model depends on these figures."""
    return {
        "namespaceSelector": {"matchNames": [controller_namespace]},
        "selector": {"matchLabels": {"gateway.envoyproxy.io/owning-gateway-name": gateway}},
        "podMetricsEndpoints": [{"port": "metrics", "path": "/stats/prometheus", "interval": "15s"}],
    }


def gateway(name: str, *, serving_namespace: str, with_tls: bool) -> Document:
    """Return the Gateway's spec; TLS ends at the load balancer, so the listener itself speaks HTTP."""
    namespaces = {
        "from": "Selector",
        "selector": {"matchLabels": {"kubernetes.io/metadata.name": serving_namespace}},
    }
    listener = {
        "name": "https" if with_tls else "http",
        "protocol": "HTTP",
        "port": PORTS[with_tls],
        "allowedRoutes": {"namespaces": namespaces, "kinds": [{"kind": "HTTPRoute"}]},
    }
    return {"gatewayClassName": name, "listeners": [listener]}


def _gateway_target(name: str) -> list[Document]:
    return [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name}]


def security_policy(gateway_name: str, api_keys_secret: str) -> Document:
    """Return the SecurityPolicy's spec: every route of the gateway asks for a key; none has a default.

    The key is read from ``Authorization`` (a leading "Bearer " is dropped by Envoy) or ``x-api-key`` and goes no
    further; the engine sees the client's name.
    """
    return {
        "targetRefs": _gateway_target(gateway_name),
        "apiKeyAuth": {
            "credentialRefs": [{"group": "", "kind": "Secret", "name": api_keys_secret}],
            "extractFrom": [{"headers": ["Authorization", "x-api-key"]}],
            "forwardClientIDHeader": "x-client-id",
            "sanitize": True,
        },
    }


def keep_alive(plan: GatewayPlan) -> Document:
    """Return probes of a connection without traffic, which load balancers and firewalls on the way would forget."""
    every = duration(plan.tcp_keep_alive_s)
    return {"idleTime": every, "interval": every, "probes": plan.tcp_keep_alive_probes}


def client_policy(gateway_name: str, plan: GatewayPlan) -> Document:
    """Return the ClientTrafficPolicy's spec: idle limits above the longest answer, a deadline for slow senders."""
    idle = duration(plan.idle_timeout_s)
    return {
        "targetRefs": _gateway_target(gateway_name),
        "timeout": {
            "tcp": {"idleTimeout": idle},
            "http": {"idleTimeout": idle, "streamIdleTimeout": idle, "requestReceivedTimeout": "30s"},
        },
        "tcpKeepalive": keep_alive(plan),
        "connection": {"bufferLimit": REQUEST_BUFFER},
        "path": {"escapedSlashesAction": "UnescapeAndRedirect"},
        "headers": {"withUnderscoresAction": "RejectRequest"},
    }


def route_filter(route: RoutePlan) -> Document:
    """Return the HTTPRouteFilter's spec: the path without the model's name, and the engine's own key by reference.

    Callers were checked before.
    """
    strip = {"pattern": f"^/{route.model}(/.*)$", "substitution": r"\1"}
    return {
        "urlRewrite": {"path": {"type": "ReplaceRegexMatch", "replaceRegexMatch": strip}},
        "credentialInjection": {
            "overwrite": True,
            "credential": {"valueRef": {"group": "", "kind": "Secret", "name": key_secret(route.model)}},
        },
    }


def path_pattern(route: RoutePlan) -> str:
    """Return the expression of the whole paths that are served: the model's name, then one of the planned paths.

    One expression, not one match a path: Envoy counts rate and requests in flight for each match by itself.
    """
    return f"/{route.model}({'|'.join(re.escape(path) for path in route.paths)})"


def http_route(route: RoutePlan, *, gateway: str, gateway_namespace: str) -> Document:
    """Return the HTTPRoute's spec: the planned paths below ``/<model>`` go to its Service, nothing else is served."""
    adapt = {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": route.model}
    rule = {
        "matches": [{"path": {"type": "RegularExpression", "value": path_pattern(route)}}],
        "filters": [{"type": "ExtensionRef", "extensionRef": adapt}],
        "backendRefs": [{"group": "", "kind": "Service", "name": route.model, "port": PORT, "weight": 1}],
    }
    parent = {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "name": gateway,
        "namespace": gateway_namespace,
    }
    return {"parentRefs": [parent], "rules": [rule]}


def _retry(route: RoutePlan) -> Document:
    """Return retries of what never reached an engine; for a sleeping model they go on until it has woken."""
    interval = duration(route.retry_interval_s)
    return {
        "numRetries": route.retries,
        "retryOn": {"triggers": ["connect-failure", "refused-stream"]},
        "perRetry": {"backOff": {"baseInterval": interval, "maxInterval": interval}},
    }


def backend_policy(route: RoutePlan, plan: GatewayPlan) -> Document:
    """Return the BackendTrafficPolicy's spec of one route: time limit, retries, rate and concurrency limits.

    The local rate limit holds per proxy, as the plan states it. A model that sleeps is addressed
    through its Service's address instead of its endpoints: without endpoints Envoy would answer at once and count
    nothing, and no traffic would ever wake it.
    """
    limit = {"requests": route.requests_per_minute, "unit": "Minute"}
    policy: Document = {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": route.model}],
        "timeout": {
            "tcp": {"connectTimeout": "5s"},
            "http": {
                "requestTimeout": duration(route.longest_s),
                "connectionIdleTimeout": duration(route.idle_timeout_s),
            },
        },
        "tcpKeepalive": keep_alive(plan),
        "retry": _retry(route),
        "rateLimit": {"type": "Local", "local": {"rules": [{"limit": limit}]}},
        "circuitBreaker": {
            "maxConnections": route.parallel_requests,
            "maxParallelRequests": route.parallel_requests,
            "maxPendingRequests": route.parallel_requests,
        },
    }
    if route.wake_s:
        return {**policy, "routingType": "Service"}
    return {**policy, "loadBalancer": {"type": "LeastRequest"}}
