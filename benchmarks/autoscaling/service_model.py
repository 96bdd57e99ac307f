"""A day of a whole service: replicas behind a gateway, KEDA and the HPA, nodes that are bought, started and drained.

Nothing of ``sizing.performance.queueing`` is shared: each replica is ``benchmarks.autoscaling.replica_model``
at the planner's own roofline, the gateway sends a call to the less loaded of two replicas (Envoy's LeastRequest), and
every ``polling_s`` the autoscaler computes what Kubernetes does with the triggers, windows and policies that the plan
renders: ``ceil(metric / target)`` for averages and ``ceil(ready x metric / target)`` for values outside its tolerances,
the least of the scale-up window, the most of the scale-down window, the policy's pods a period, between floor and
ceiling.
Metrics are one scrape old, TTFT is the histogram's.

The traffic of the day follows dailyShape, or a cosine between minimumShare and 1 of requestsPerSecond, with gamma gaps
of the stated burstiness (1 is Poisson), times bursts: from ten o'clock it rises to peakFactor within an hour and stays
there for half an hour; at sixteen it jumps to peakFactor for half an hour. Seconds and requests per second throughout.
"""

from __future__ import annotations

import bisect
import math
import random
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

from benchmarks.autoscaling.replica_model import Call, Engine, StepTimes
from benchmarks.plans.problems import lengths_of, limits_of, percentile, stepper
from sizing.catalogue.files import serving_facts
from sizing.inputs import ModelEntry
from sizing.nodes.lifecycle import consolidate_after_s
from sizing.performance.replica import Replica
from sizing.plan import ServingPlan
from sizing.planning.sensitivity import shares_of_day
from sizing.workload.workload import Objectives

DAY_S = 86_400
HOUR_S = 3600
RAMP_S, STEP_S, BURST_S = 10 * HOUR_S, 16 * HOUR_S, HOUR_S / 2
"""When the traffic starts to rise to the peak, when it jumps there, and how long it stays."""
FLAP_S = 600
REASON = 0.1
"""Growth of the offered traffic since a replica was let go that is a reason to start one again."""
CHOICES = 2
IDLE_S = 60.0
"""Step over a time without traffic."""

Shape = Callable[[float], float]
"""Offered requests per second at a moment."""


def day_shape(entry: ModelEntry) -> Shape:
    """Return the arrivals of the day: the hours of the workload, a rise and a jump to the peak, and what may wait."""
    workload, hours = entry.workload, shares_of_day(entry.workload)

    def rate(now_s: float) -> float:
        after, factor = now_s % DAY_S, 0.0
        if RAMP_S <= after < RAMP_S + HOUR_S + BURST_S:
            factor = min((after - RAMP_S) / HOUR_S, 1.0)
        elif STEP_S <= after < STEP_S + BURST_S:
            factor = 1.0
        hour, part = divmod(after / HOUR_S, 1)
        share = hours[int(hour)] * (1 - part) + hours[(int(hour) + 1) % len(hours)] * part
        peak = 1 + (workload.peak_factor - 1) * factor
        return workload.prompt_requests_per_second * share * peak + workload.batch_requests_per_second

    return rate


def calls_of(entry: ModelEntry, rate: Shape, longest: int, until_s: float, *, shape: str, seed: int) -> Iterator[Call]:
    """Return arrivals with gamma gaps of the workload's burstiness and random lengths that fit ``longest`` tokens."""
    chance, clock, workload = random.Random(f"day {seed}"), 0.0, entry.workload  # noqa: S311
    while clock < until_s:
        offered = rate(clock)
        if offered <= 0:
            clock += IDLE_S
            continue
        clock += chance.gammavariate(workload.burstiness, 1 / (workload.burstiness * offered))
        tokens, output = lengths_of(chance, workload, longest, shape)
        may_wait = chance.random() * offered < workload.batch_requests_per_second
        yield Call(clock, tokens, output, int(tokens * workload.prefix_share), may_wait=may_wait)


@dataclass
class Pod:
    """One replica: its engines (one a stage of its pipeline), its node, and when it is or was ready."""

    engines: list[Engine]
    node: int
    born_s: float
    ready_s: float
    leaves_s: float = math.inf
    """When it is killed, set once it drains."""

    def advance(self, now_s: float) -> None:
        """Run every step that ends by ``now_s``."""
        for engine in self.engines:
            engine.advance(now_s)

    @property
    def in_flight(self) -> int:
        """Calls that are in it."""
        return sum(engine.in_flight for engine in self.engines)

    def submit(self, call: Call, now_s: float) -> None:
        """Hand a call to the engine with the fewest."""
        min(self.engines, key=lambda engine: engine.in_flight).submit(call, now_s)


@dataclass(frozen=True)
class Sample:
    """What Prometheus knows at one scrape."""

    arrivals_per_s: float
    waiting: int
    kv_usage: float
    ttft_s: float
    """The plan's quantile of times to the first token."""


@dataclass
class Autoscaler:
    """The HPA that KEDA makes of a plan; ``decide`` is called every ``polling_s``."""

    plan: ServingPlan
    replicas: int
    wanted: deque[tuple[float, int]] = field(default_factory=deque)
    """Replicas that the metrics asked for, the first of them those that ran when it began."""
    changed: deque[tuple[float, int]] = field(default_factory=deque)
    reason: str = ""
    idle_since_s: float = math.inf

    def decide(self, now_s: float, sample: Sample, ready: int) -> int:
        """Return the replicas from now on."""
        scaling, bounds = self.plan.scaling, self.plan.replicas
        if self.plan.scale_to_zero and self._asleep(now_s, sample):
            self.replicas = 0
            return 0
        least = max(bounds.floor, 1)
        if not self.wanted:
            self.wanted.append((now_s, max(self.replicas, least)))
        by_metric = self._by_metric(sample, ready)
        self.reason = max(by_metric, key=lambda name: by_metric[name])
        desired = min(max(*by_metric.values(), least), bounds.ceiling)
        self.wanted.append((now_s, desired))
        while self.wanted[0][0] < now_s - max(scaling.scale_down_window_s, scaling.scale_up_window_s):
            self.wanted.popleft()
        lowest = min(count for at, count in self.wanted if at > now_s - scaling.scale_up_window_s)
        highest = max(count for at, count in self.wanted if at > now_s - scaling.scale_down_window_s)
        target = min(max(self.replicas, lowest), highest)
        self._move(now_s, max(target, least))
        return self.replicas

    def _asleep(self, now_s: float, sample: Sample) -> bool:
        if sample.arrivals_per_s > 0 or sample.waiting:
            self.idle_since_s = math.inf
            return False
        self.idle_since_s = min(self.idle_since_s, now_s)
        return self.replicas == 0 or now_s - self.idle_since_s >= self.plan.scaling.cooldown_s

    def _by_metric(self, sample: Sample, ready: int) -> dict[str, int]:
        scaling, below = self.plan.scaling, 1 - serving_facts("scaling")["tolerance"]
        current, above = max(self.replicas, 1), 1 + scaling.scale_up_tolerance

        def average(metric: float, target: float) -> int:
            near = below <= metric / (target * current) <= above
            return current if near else math.ceil(metric / target - 1e-9)

        def value(metric: float, target: float) -> int:
            near = below <= metric / target <= above
            return current if near else math.ceil(max(ready, 1) * metric / target - 1e-9)

        return {
            "traffic": average(sample.arrivals_per_s + scaling.spare_requests_per_s, scaling.requests_per_s),
            "waiting": average(sample.waiting, scaling.waiting_requests),
            "kv-cache": value(sample.kv_usage, scaling.kv_cache_usage),
            "ttft": value(sample.ttft_s, scaling.ttft_s),
        }

    def _move(self, now_s: float, target: int) -> None:
        """Go towards ``target`` by as many pods as the policy of the direction allows in its period."""
        scaling, up = self.plan.scaling, target > self.replicas
        most, period = (
            (scaling.scale_up_pods, scaling.scale_up_period_s) if up
            else (scaling.scale_down_pods, scaling.scale_down_period_s)
        )  # fmt: skip
        while self.changed and self.changed[0][0] <= now_s - HOUR_S:
            self.changed.popleft()
        recent = sum(by for at, by in self.changed if at > now_s - period) * (1 if up else -1)
        by = min(abs(target - self.replicas), max(most - recent, 0)) * (1 if up else -1)
        if by:
            self.changed.append((now_s, by))
            self.replicas += by


@dataclass(frozen=True)
class Service:
    """One model of a plan, as it is to be simulated."""

    name: str
    entry: ModelEntry
    plan: ServingPlan
    replica: Replica
    zones: int
    usd_per_hour: Callable[[int], float]
    """USD per hour of that many nodes."""
    slower: float = 1.0
    """Time of a step over that of the roofline."""


class Fleet:
    """Pods on nodes behind the gateway."""

    def __init__(self, service: Service, seed: int) -> None:
        self.plan, self.replica = service.plan, service.replica
        self.pods: list[Pod] = []
        self.leaving: list[Pod] = []
        self.nodes: dict[int, float] = {}
        """Nodes by number, with the moment since which they are empty."""
        self._booted: dict[int, float] = {}
        self.held: deque[Call] = deque()
        """Calls at the gateway while no replica is ready."""
        self.begun: list[Call] = []
        self.ended: list[Call] = []
        step_s, slower = stepper(self.replica.roofline), service.slower
        self._times = StepTimes(lambda step: slower * step_s(step))
        self._chance = random.Random(f"gateway {seed}")  # noqa: S311
        self._numbers = 0
        self._keep_s = consolidate_after_s([self.plan])
        floor = math.ceil(self.plan.replicas.floor / self.plan.replicas_per_instance)
        self._floor = [self._buy(-math.inf) for _ in range(floor)]

    def _buy(self, booted_s: float) -> int:
        self._numbers += 1
        self.nodes[self._numbers], self._booted[self._numbers] = math.inf, booted_s
        return self._numbers

    def _engines(self) -> list[Engine]:
        replica, stages = self.replica, self.replica.stages
        limits = limits_of(replica)
        told, request_s = (self.begun.append, self.ended.append), replica.speed.request_s
        return [Engine(limits, self._times, *told, request_s=request_s) for _ in range(stages)]

    def ready(self, now_s: float) -> list[Pod]:
        """Return the pods that take calls."""
        return [pod for pod in self.pods if pod.ready_s <= now_s]

    def start(self, now_s: float, *, at_once: bool = False) -> None:
        """Start one pod: on the fullest node with room, where the image is there already; else a node is bought."""
        start, used = self.plan.start_up, [pod.node for pod in (*self.pods, *self.leaving)]
        room = [node for node in self.nodes if used.count(node) < self.plan.replicas_per_instance]
        node = max(room, key=used.count) if room else self._buy(now_s + start.node_s + start.image_pull_s)
        self.nodes[node] = math.inf
        ready_s = now_s if at_once else max(self._booted[node], now_s) + start.pod_s
        self.pods.append(Pod(self._engines(), node, now_s, ready_s))

    def stop(self, now_s: float) -> None:
        """Drain one pod: one that is not ready, then one of the fullest node, then the youngest."""
        nodes = [pod.node for pod in self.pods]
        pod = max(self.pods, key=lambda one: (one.ready_s > now_s, nodes.count(one.node), one.born_s))
        self.pods.remove(pod)
        pod.leaves_s = now_s + self.plan.drain.pre_stop_s + self.plan.drain.shutdown_timeout_s
        self.leaving.append(pod)

    def lose(self, nodes: Collection[int], now_s: float) -> list[Call]:
        """Take nodes away with all that runs there; start as many pods anew and return the calls that are cut."""
        gone = [pod for pod in (*self.pods, *self.leaving) if pod.node in nodes]
        again = sum(pod.node in nodes for pod in self.pods)
        self.pods = [pod for pod in self.pods if pod not in gone]
        self.leaving = [pod for pod in self.leaving if pod not in gone]
        for node in nodes:
            del self.nodes[node]
        for _ in range(again):
            self.start(now_s)
        return [call for pod in gone for engine in pod.engines for call in engine.calls]

    def route(self, call: Call, ready: list[Pod]) -> None:
        """Send a call to the less loaded of two replicas; it waits where there is none."""
        if not ready:
            self.held.append(call)
            return
        two = ready if len(ready) <= CHOICES else self._chance.sample(ready, CHOICES)
        for pod in two:
            pod.advance(call.arrival_s)
        min(two, key=lambda pod: pod.in_flight).submit(call, call.arrival_s)

    def tick(self, now_s: float) -> list[Call]:
        """Advance everything to ``now_s``; return the calls that a drain cut."""
        cut: list[Call] = []
        for pod in (*self.pods, *self.leaving):
            pod.advance(now_s)
        for pod in [pod for pod in self.leaving if not pod.in_flight or pod.leaves_s <= now_s]:
            self.leaving.remove(pod)
            cut += [call for engine in pod.engines for call in engine.calls]
        used = {pod.node for pod in (*self.pods, *self.leaving)}
        for node in list(self.nodes):
            self.nodes[node] = math.inf if node in used else min(self.nodes[node], now_s)
            if now_s - self.nodes[node] >= self._keep_s and node not in self._floor:
                del self.nodes[node]
        ready = self.ready(now_s)
        while ready and self.held:
            min(ready, key=lambda pod: pod.in_flight).submit(self.held.popleft(), now_s)
        return cut


class Metrics:
    """What the scrapes see: arrivals in the last window, the queue, the cache, the histogram of TTFT."""

    def __init__(self, plan: ServingPlan, before_per_s: float) -> None:
        tick = plan.scaling.polling_s
        self._arrived = deque([before_per_s * tick] * (plan.scaling.rate_window_s // tick))
        self._span_s = len(self._arrived) * tick
        self._bounds = serving_facts("scaling")["ttft_buckets_s"]
        self._quantile, self._first = plan.scaling.ttft_quantile, deque[list[int]](maxlen=len(self._arrived))
        self._late: Sample | None = None

    def scrape(self, arrived: int, fleet: Fleet, now_s: float) -> Sample:
        """Return the sample of the scrape before, and remember this one."""
        self._arrived.popleft()
        self._arrived.append(arrived)
        counts = [0] * (len(self._bounds) + 1)
        for call in fleet.begun:
            counts[bisect.bisect_left(self._bounds, call.first_s - call.sent_s)] += 1
        fleet.begun.clear()
        self._first.append(counts)
        engines = [engine for pod in fleet.ready(now_s) for engine in pod.engines]
        seen = Sample(
            arrivals_per_s=sum(self._arrived) / self._span_s,
            waiting=sum(len(engine.waiting) for engine in engines),
            kv_usage=sum(one.reserved / one.limits.kv_tokens for one in engines) / len(engines) if engines else 0.0,
            ttft_s=self._ttft_s(),
        )
        late, self._late = self._late or seen, seen
        return late

    def _ttft_s(self) -> float:
        """Return ``histogram_quantile``: linear within the bucket, its bound where it is the last."""
        counts = [sum(column) for column in zip(*self._first, strict=True)]
        wanted, seen = self._quantile * sum(counts), 0
        for place, count in enumerate(counts[:-1]):
            if count and seen + count >= wanted:
                low = self._bounds[place - 1] if place else 0.0
                return float(low + (self._bounds[place] - low) * (wanted - seen) / count)
            seen += count
        return float(self._bounds[-1]) if sum(counts) else 0.0


@dataclass(frozen=True)
class Change:
    """One decision of the autoscaler that changed the number of replicas, and the metric that asked for most."""

    at_s: float
    by: int
    offered: float
    reason: str


@dataclass(frozen=True)
class Moment:
    """The service at one moment of the day."""

    at_s: float
    offered: float
    replicas: int
    ready: int
    waiting: int


@dataclass
class Day:
    """What a day was like; calls that arrive before ``from_s`` are not counted."""

    from_s: float = 0.0
    calls: int = 0
    within: int = 0
    cut: int = 0
    ttft_s: array[float] = field(default_factory=lambda: array("d"))
    tpot_s: array[float] = field(default_factory=lambda: array("d"))
    changes: list[Change] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    usd: float = 0.0
    hours: dict[int, list[int]] = field(default_factory=dict)
    """Calls and those within the objectives, by the hour of their arrival."""

    @property
    def flaps(self) -> int:
        """Replicas started within ten minutes of one being let go, without a tenth more traffic since."""
        found, last = 0, None
        for change in self.changes:
            if change.by < 0:
                last = change
            elif last and change.at_s - last.at_s <= FLAP_S and change.offered <= last.offered * (1 + REASON):
                found, last = found + 1, None
        return found

    @property
    def mean_replicas(self) -> float:
        """Replicas that ran or started, over the day."""
        return sum(moment.replicas for moment in self.moments) / len(self.moments)

    @property
    def mean_usd_per_hour(self) -> float:
        """USD per hour of the nodes, over the day."""
        return self.usd / len(self.moments)

    def p95_ms(self, seen: array[float]) -> float:
        """Return the 95th percentile of ``ttft_s`` or ``tpot_s`` in milliseconds."""
        return percentile(list(seen), 0.95) * 1e3

    def add(self, call: Call, objectives: Objectives, *, cut: bool = False) -> None:
        """Count one call that has ended, or was cut."""
        if call.arrival_s < self.from_s or call.may_wait:
            return
        met = not cut and call.ttft_s * 1e3 <= objectives.ttft_p95_ms and call.tpot_s * 1e3 <= objectives.tpot_p95_ms
        hour = self.hours.setdefault(int(call.arrival_s // HOUR_S), [0, 0])
        self.calls, self.within, self.cut = self.calls + 1, self.within + met, self.cut + cut
        hour[0], hour[1] = hour[0] + 1, hour[1] + met
        self.ttft_s.append(call.ttft_s)
        self.tpot_s.append(math.inf if cut else call.tpot_s)


Upset = Callable[[float, Fleet], list[Call]]
"""What happens to the nodes at a moment; the calls that it cuts."""


def simulate(
    service: Service,
    rate: Shape,
    *,
    until_s: float = DAY_S,
    from_s: float = 0.0,
    first: int | None = None,
    upset: Upset = lambda *_: [],
    lengths: str = "exponential",
    seed: int,
) -> Day:
    """Run one service from midnight to ``until_s``, ``first`` replicas at once; count calls from ``from_s`` on."""
    plan, entry, day = service.plan, service.entry, Day(from_s=from_s)
    fleet, metrics = Fleet(service, seed), Metrics(plan, rate(0.0))
    scaler = Autoscaler(plan, _first_replicas(plan, rate(0.0)) if first is None else first)
    for _ in range(scaler.replicas):
        fleet.start(0.0, at_once=True)
    calls = calls_of(entry, rate, plan.engine.max_model_len, until_s, shape=lengths, seed=seed)
    coming, now_s = next(calls, None), 0.0
    while now_s < until_s:
        now_s, arrived, ready = now_s + plan.scaling.polling_s, 0, fleet.ready(now_s)
        while coming is not None and coming.arrival_s < now_s:
            fleet.route(coming, ready)
            coming, arrived = next(calls, None), arrived + 1
        for call in (*fleet.tick(now_s), *upset(now_s, fleet)):
            day.add(call, entry.objectives, cut=True)
        for call in fleet.ended:
            day.add(call, entry.objectives)
        fleet.ended.clear()
        _control(scaler, fleet, metrics.scrape(arrived, fleet, now_s), (now_s, rate(now_s)), day)
        day.usd += service.usd_per_hour(len(fleet.nodes))
    return day


def _first_replicas(plan: ServingPlan, rate_per_s: float) -> int:
    wanted = math.ceil((rate_per_s + plan.scaling.spare_requests_per_s) / plan.scaling.requests_per_s)
    return min(max(wanted, plan.replicas.floor), plan.replicas.ceiling)


def _control(scaler: Autoscaler, fleet: Fleet, sample: Sample, at: tuple[float, float], day: Day) -> None:
    """Let the autoscaler decide at a moment with its offered traffic, and start or stop pods."""
    (now_s, offered), ready = at, len(fleet.ready(at[0]))
    before = scaler.replicas
    by = scaler.decide(now_s, sample, ready) - before
    for _ in range(abs(by)):
        (fleet.start if by > 0 else fleet.stop)(now_s)
    if by:
        day.changes.append(Change(now_s, by, offered, scaler.reason))
    day.moments.append(Moment(now_s, offered, scaler.replicas, ready, sample.waiting + len(fleet.held)))
