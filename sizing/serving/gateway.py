"""Limits of the gateway: how long a request may last, how many come through, how often one is tried again.

A request may last as long as the longest answer takes (``sizing.serving.longest_answer``), not as long as a replica
drains: a limit here cuts answers of replicas that stay. Idle limits lie above that, because an answer that is not
streamed is silent until its end; where a load balancer allows less, keep-alive packets break the silence. Rates follow
from the ceiling: more than it carries is refused early (429), not queued. Seconds, requests per minute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sizing.catalogue.files import serving_facts, serving_source
from sizing.plan import Figure, ServingPlan
from sizing.plan.operation import GatewayPlan, LongestAnswer, RoutePlan
from sizing.units import SECONDS_PER_MINUTE


def gateway_plan(models: Sequence[ServingPlan], *, proxies: int) -> GatewayPlan:
    """Return the limits of the gateway in front of ``models``, of which ``proxies`` share the traffic."""
    facts = serving_facts("gateway")
    routes = tuple(route(model, proxies=proxies) for model in models)
    longest_s = max((one.longest_s for one in routes), default=facts["empty_longest_s"])
    idle_s = longest_s + facts["idle_margin_s"]
    return GatewayPlan(
        proxies=proxies,
        routes=routes,
        longest_s=longest_s,
        drain_s=min(longest_s, serving_facts("drain")["max_grace_s"]),
        idle_timeout_s=idle_s,
        load_balancer_idle_s=min(max(idle_s, facts["idle_min_s"]), facts["idle_max_s"]),
        tcp_keep_alive_s=facts["keep_alive_s"],
        tcp_keep_alive_probes=facts["keep_alive_probes"],
        deregistration_s=facts["deregistration_s"],
    )


def route(model: ServingPlan, *, proxies: int) -> RoutePlan:
    """Return the limits of one model; rates and parallel requests are those of all replicas at the ceiling."""
    facts, ceiling = serving_facts("gateway"), model.replicas.ceiling
    timeout_s = request_timeout_s(model.longest_answer)
    wake_s = model.rollout.cold_start_s if model.scale_to_zero else 0
    retries, interval_s = _retries(wake_s)
    return RoutePlan(
        model=model.name,
        paths=model.paths,
        request_timeout_s=timeout_s,
        wake_s=wake_s,
        longest_s=timeout_s + wake_s,
        idle_timeout_s=facts["engine_idle_s"],
        requests_per_minute=requests_per_minute(ceiling * model.most_requests_per_s_per_replica, proxies),
        parallel_requests=ceiling * (model.engine.max_num_seqs + model.scaling.waiting_requests),
        retries=retries,
        retry_interval_s=interval_s,
    )


def request_timeout_s(longest: LongestAnswer) -> int:
    """Return the bound of a request: the longest answer, as often as callers may send what the ceiling carries."""
    facts = serving_facts("gateway")
    longest_s: int = math.ceil(facts["rate_headroom"] * longest.total_s)
    return max(int(facts["timeout_min_s"]), longest_s)


def requests_per_minute(carried_per_s: float, proxies: int) -> int:
    """Return the requests that one proxy takes in a minute: what is carried, with headroom, over the proxies."""
    headroom = float(serving_facts("gateway")["rate_headroom"])
    return max(1, math.ceil(carried_per_s * SECONDS_PER_MINUTE * headroom / proxies))


def _retries(wake_s: int) -> tuple[int, int]:
    """Return how often, and within which interval, what never reached an engine is tried again.

    For a sleeping model until it has woken: a retry waits half its interval on average, so three times the intervals
    of the wake-up outlast it; the request timeout ends them.
    """
    facts = serving_facts("gateway")
    if not wake_s:
        return facts["retries"], facts["retry_interval_s"]
    interval_s = facts["wake_retry_interval_s"]
    return math.ceil(facts["wake_retries_over_wake"] * wake_s / interval_s), interval_s


def gateway_figures(plan: GatewayPlan, models: Sequence[ServingPlan]) -> tuple[Figure, ...]:
    """Return why the limits of the gateway are what they are."""
    facts, source = serving_facts("gateway"), serving_source("gateway")
    per_model = [
        figure
        for one, model in zip(plan.routes, models, strict=True)
        for figure in _route_figures(one, model, plan.proxies)
    ]
    return (
        *per_model,
        Figure(
            name="gateway_idle_timeout_s",
            value=plan.idle_timeout_s,
            unit="s",
            rule="the longest that any request may last + margin, as an answer that is not streamed is silent until its"
            " end; at the load balancer within the bounds of its API (fixed with TLS), where keep-alive packets break"
            " longer silences",
            inputs={
                "longest_s": plan.longest_s,
                "margin_s": facts["idle_margin_s"],
                "load_balancer_idle_s": plan.load_balancer_idle_s,
                "load_balancer_idle_with_tls_s": facts["tls_idle_s"],
                "tcp_keep_alive_s": plan.tcp_keep_alive_s,
                "tcp_keep_alive_probes": plan.tcp_keep_alive_probes,
            },
            source=source,
        ),
        Figure(
            name="deregistration_s",
            value=plan.deregistration_s,
            unit="s",
            rule="until the load balancer stops sending to a leaving proxy, which drains at least that long and at most"
            " the longest request, within what an update of nodes waits",
            inputs={"longest_s": plan.longest_s, "drain_s": plan.drain_s},
            source=source,
        ),
    )


def _route_times(one: RoutePlan, model: ServingPlan) -> tuple[Figure, ...]:
    facts, source = serving_facts("gateway"), serving_source("gateway")
    return (
        Figure(
            name=f"route_longest_s of {one.model}",
            value=one.longest_s,
            unit="s",
            rule=f"longest answer x {facts['rate_headroom']:g}, at least {facts['timeout_min_s']} s, + the start of a"
            " replica where the model sleeps",
            inputs={
                "longest_answer_s": model.longest_answer.total_s,
                "request_timeout_s": one.request_timeout_s,
                "wake_s": one.wake_s,
            },
            source=source,
        ),
        Figure(
            name=f"route_idle_timeout_s of {one.model}",
            value=one.idle_timeout_s,
            unit="s",
            rule="a connection without a request is closed, before the engine does so; silence within a request does"
            " not count",
            inputs={"engine_keep_alive_s": model.http_keep_alive_s},
            source=source,
        ),
    )


def _route_figures(one: RoutePlan, model: ServingPlan, proxies: int) -> tuple[Figure, ...]:
    facts, source = serving_facts("gateway"), serving_source("gateway")
    return (
        *_route_times(one, model),
        Figure(
            name=f"requests_per_minute of {one.model}",
            value=one.requests_per_minute,
            unit="requests/min of one proxy",
            rule="replicas at the ceiling x the most requests/s of one x 60 x headroom / proxies; beyond it callers are"
            " refused",
            inputs={
                "ceiling": model.replicas.ceiling,
                "most_requests_per_s_per_replica": round(model.most_requests_per_s_per_replica, 4),
                "headroom": facts["rate_headroom"],
                "proxies": proxies,
            },
            source=source,
        ),
        Figure(
            name=f"parallel_requests of {one.model}",
            value=one.parallel_requests,
            unit="requests",
            rule="replicas at the ceiling x (slots + requests that wait before a replica is added)",
            inputs={
                "ceiling": model.replicas.ceiling,
                "max_num_seqs": model.engine.max_num_seqs,
                "waiting_requests": model.scaling.waiting_requests,
            },
            source=source,
        ),
        Figure(
            name=f"retries of {one.model}",
            value=one.retries,
            unit=f"within {one.retry_interval_s} s each",
            rule="only what never reached an engine; where the model sleeps, three times the intervals of its wake-up,"
            " of which each waits half on average",
            inputs={"wake_s": one.wake_s},
            source=source,
        ),
    )
