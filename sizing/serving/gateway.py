"""Limits of the gateway: how long a request may last, how many come through, how often one is tried again.

A request may last as long as a draining engine would still answer it, so that what was admitted ends whether or not
its replica leaves; idle limits lie above that, so that no stream is cut between two tokens. Rates follow from the
ceiling: more than it can serve is refused early (429), not queued. Seconds, requests per minute.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sizing.catalogue.files import serving_facts, serving_source
from sizing.plan import Figure, ServingPlan
from sizing.plan.operation import GatewayPlan, RoutePlan
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
        idle_timeout_s=idle_s,
        load_balancer_idle_s=min(max(idle_s, facts["idle_min_s"]), facts["idle_max_s"]),
        deregistration_s=facts["deregistration_s"],
    )


def route(model: ServingPlan, *, proxies: int) -> RoutePlan:
    """Return the limits of one model; rates and parallel requests are those of all replicas at the ceiling."""
    facts, ceiling = serving_facts("gateway"), model.replicas.ceiling
    timeout_s = model.drain.shutdown_timeout_s
    wake_s = model.rollout.cold_start_s if model.scale_to_zero else 0
    retries, interval_s = _retries(wake_s)
    return RoutePlan(
        model=model.name,
        request_timeout_s=timeout_s,
        wake_s=wake_s,
        longest_s=timeout_s + wake_s,
        idle_timeout_s=timeout_s + facts["idle_margin_s"],
        requests_per_minute=requests_per_minute(ceiling * model.throughput.requests_per_s, proxies),
        parallel_requests=ceiling * (model.engine.max_num_seqs + model.scaling.waiting_requests),
        retries=retries,
        retry_interval_s=interval_s,
    )


def requests_per_minute(sustained_per_s: float, proxies: int) -> int:
    """Return the requests that one proxy takes in a minute: what is sustained, with headroom, over the proxies."""
    headroom = float(serving_facts("gateway")["rate_headroom"])
    return max(1, math.ceil(sustained_per_s * SECONDS_PER_MINUTE * headroom / proxies))


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
            rule="the longest that any request may last + margin, so that no stream is cut between two tokens; at the"
            " load balancer within the bounds of its API",
            inputs={
                "longest_s": plan.longest_s,
                "margin_s": facts["idle_margin_s"],
                "load_balancer_idle_s": plan.load_balancer_idle_s,
            },
            source=source,
        ),
        Figure(
            name="deregistration_s",
            value=plan.deregistration_s,
            unit="s",
            rule="until the load balancer stops sending to a leaving proxy, which drains at least that long and at most"
            " the longest request",
            inputs={"longest_s": plan.longest_s},
            source=source,
        ),
    )


def _route_figures(one: RoutePlan, model: ServingPlan, proxies: int) -> tuple[Figure, ...]:
    facts, source = serving_facts("gateway"), serving_source("gateway")
    return (
        Figure(
            name=f"route_longest_s of {one.model}",
            value=one.longest_s,
            unit="s",
            rule="what a draining engine still answers + the start of a replica where the model sleeps",
            inputs={"request_timeout_s": one.request_timeout_s, "wake_s": one.wake_s},
            source=source,
        ),
        Figure(
            name=f"route_idle_timeout_s of {one.model}",
            value=one.idle_timeout_s,
            unit="s",
            rule="what a draining engine still answers + margin; a connection to an engine without traffic is closed",
            inputs={"request_timeout_s": one.request_timeout_s, "margin_s": facts["idle_margin_s"]},
            source=source,
        ),
        Figure(
            name=f"requests_per_minute of {one.model}",
            value=one.requests_per_minute,
            unit="requests/min of one proxy",
            rule="replicas at the ceiling x requests/s of one x 60 x headroom / proxies; beyond it callers are refused",
            inputs={
                "ceiling": model.replicas.ceiling,
                "requests_per_s": round(model.throughput.requests_per_s, 4),
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
