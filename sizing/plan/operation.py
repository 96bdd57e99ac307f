"""The part of the contract that says how what is planned is operated: lifetimes, deadlines, limits, placement.

Frozen dataclasses with units in the names, fields of ``ServingPlan``, ``NodePoolPlan`` and ``StackPlan``
(``sizing.plan``). Documents of ``components`` copy them; the rules are in ``sizing.nodes`` and ``sizing.serving``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One HTTP probe of the engine."""

    path: str
    period_s: int
    timeout_s: int
    failure_threshold: int


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Probe budgets; start-up covers twice the predicted load."""

    startup: Probe
    liveness: Probe
    readiness: Probe


@dataclass(frozen=True, kw_only=True)
class LongestAnswer:
    """How long an answer may last at the most traffic of a replica: what the limits of the gateway follow from.

    Not how long a replica drains (``Drain``): one that leaves may cut an answer that the gateway would let end.
    """

    output_tokens: int
    """Stated, or all that the engine's context allows."""
    stated: bool
    queue_s: float
    """Wait behind as many requests as wait before a replica is added."""
    first_token_s: float
    """Of the longest prompt."""
    token_ms: float
    """Time per output token beside the traffic of the ceiling, with the cache of this answer read in each step."""
    total_s: int


@dataclass(frozen=True, kw_only=True)
class Drain:
    """How a replica leaves: grace_period_s > pre_stop_s + shutdown_timeout_s, and within the spot notice."""

    pre_stop_s: int
    shutdown_timeout_s: int
    grace_period_s: int


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Thresholds of the autoscaler, per replica; it acts ``scale_up_tolerance`` above each."""

    requests_per_s: float
    """Arrivals that one replica is counted for."""
    spare_requests_per_s: float
    """Arrivals counted on top, for the replicas that stand by for a loss and for bursts that fewer replicas share."""
    rate_window_s: int
    """Window over which arrivals are averaged, and times to the first token looked at."""
    waiting_requests: int
    kv_cache_usage: float
    ttft_s: float
    ttft_quantile: float
    """Quantile of TTFT that is held against ``ttft_s``: lower than what is promised where few calls tell it."""
    polling_s: int
    scale_up_tolerance: float
    """Share above a threshold at which it acts: a tenth, and chance in the arrivals that a window counts."""
    scale_up_window_s: int
    scale_up_pods: int
    """Replicas that may be added in ``scale_up_period_s``."""
    scale_up_period_s: int
    scale_down_window_s: int
    scale_down_pods: int
    scale_down_period_s: int
    cooldown_s: int


@dataclass(frozen=True, kw_only=True)
class NodeLifetime:
    """When Karpenter buys, keeps and removes the nodes of one pool; whole minutes."""

    weight: int
    """Preference among the pools, 1 to 100: those that a model names earlier are bought first."""
    consolidate_after_s: int
    """Time that an empty node is kept."""
    termination_s: int
    """Time that a leaving node may take."""
    expire_after_h: int
    """Age at which a node is replaced, so that its image does not age without end."""
    deletion_s: int
    """Time that the removal of the pool may take before it counts as failed."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How long one replica may take to appear, and how many may be away at once."""

    cold_start_s: int
    """The most that a replica may need from nothing; also how long a model at zero is awaited."""
    protected_s: int
    """Time after the start without voluntary disruption; whole minutes."""
    progress_deadline_s: int
    """Time without progress after which a rollout has failed."""
    await_s: int
    """Time that a deployment waits for the rollout."""
    unavailable: int
    """What a rollout may take away at once, in ``unavailable_unit``."""
    unavailable_unit: Literal["replicas", "percent"]
    evictable: int
    """Replicas that a drain of nodes may take away at once."""


@dataclass(frozen=True, kw_only=True)
class UpgradeLoss:
    """What one kind of upgrade takes from one model while it runs, at the planned traffic."""

    kind: str
    model: str
    gpu_minutes: float
    """GPUs that serve nothing, times the minutes that they do not."""
    serving: int
    """Least replicas that serve meanwhile; 0 where the model is away for a while."""
    replicas: int


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where replicas may be: over zones, and among the pools."""

    max_skew: int
    """Replicas that a zone may hold above the others."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    pool_weights: tuple[int, ...]
    """Preference for each pool of the plan, 100 downwards; empty with a single pool."""


@dataclass(frozen=True, kw_only=True)
class Fallback:
    """What the autoscaler does at the lower end, and without metrics."""

    least_replicas: int
    """Replicas below which it never goes; 0 where the model sleeps."""
    failures: int
    """Failed polls after which it falls back."""
    replicas: int
    """Replicas that run then, unless more do."""


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """The job that copies the weights of one revision into the model store."""

    deadline_s: int
    """Time after which Kubernetes ends the job."""
    copy_deadline_s: int
    """Time after which the copy itself gives up, a little earlier: its log then says why."""
    scratch_gib: int
    """Disk for the parts in flight; never the whole model."""


@dataclass(frozen=True, kw_only=True)
class RoutePlan:
    """Limits of one model at the gateway."""

    model: str
    paths: tuple[str, ...]
    """Paths of the engine that callers reach, below the model's name; no other is served."""
    request_timeout_s: int
    """Bound of a whole answer of a model that is awake."""
    wake_s: int
    """How much longer the first caller of a model at zero may wait; 0 where it never sleeps."""
    longest_s: int
    """Bound of a whole request, and of its silence: an answer that is not streamed has no byte before its end."""
    idle_timeout_s: int
    """Time after which a connection to an engine is closed that has no request; silence within one does not count."""
    requests_per_minute: int
    """Requests that one proxy takes in a minute before callers are refused (429)."""
    parallel_requests: int
    """Requests in flight above which callers are refused, of all replicas at the ceiling."""
    retries: int
    """Attempts after the first of a request that never reached an engine."""
    retry_interval_s: int
    """Upper bound of the random time between attempts."""


@dataclass(frozen=True, kw_only=True)
class GatewayPlan:
    """The way in: its proxies, the limits of each model, and times that hold for all of them."""

    proxies: int
    routes: tuple[RoutePlan, ...]
    longest_s: int
    """The most that any request may last."""
    drain_s: int
    """Time that a leaving proxy waits for its requests: the longest, within what an update of nodes allows."""
    idle_timeout_s: int
    """Time after which a caller's connection without traffic is closed."""
    load_balancer_idle_s: int
    """The same at the load balancer, within the bounds of its API."""
    tcp_keep_alive_s: int
    """Time without traffic after which a connection is probed, and between probes: it outlasts any silence behind load
    balancers and firewalls that would forget it."""
    tcp_keep_alive_probes: int
    """Probes without an answer after which the other side counts as gone."""
    deregistration_s: int
    """Time until the load balancer stops sending to a leaving proxy; proxies drain at least that long."""
