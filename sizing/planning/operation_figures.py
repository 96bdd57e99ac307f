"""What a plan says of how it is operated: deadlines of a replica, its place, the autoscaler's lower end, the copy of
its weights; and of the stack, its gateway and GPU quota.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizing.catalogue.files import serving_facts, serving_source
from sizing.inputs import ModelEntry
from sizing.plan import Figure, NodePoolPlan, Replicas, ServingPlan, StartUp
from sizing.plan.operation import Drain, Fallback, GatewayPlan, Ingest, Placement, Probes, Rollout
from sizing.planning.search.options import Option
from sizing.planning.sharing.fleets import Fleet
from sizing.serving.gateway import gateway_figures


@dataclass(frozen=True, kw_only=True)
class Operation:
    """How one model is operated: the fields of its plan that deadlines, place and loss of metrics follow from."""

    rollout: Rollout
    placement: Placement
    fallback: Fallback
    ingest: Ingest


def operation_figures(
    entry: ModelEntry, fleet: Fleet, start: StartUp, probes: Probes, operation: Operation, *, leave: Drain
) -> tuple[Figure, ...]:
    """Return the figures of how one model on ``fleet`` is operated."""
    option = fleet.option(entry.name)
    return (
        *_deadlines(operation.rollout, start, probes, leave),
        *_away(operation.rollout, option, surge=fleet.surge),
        *_place(entry, option, operation.placement),
        _fallback(operation.fallback, option.replicas),
        *_ingest(operation.ingest, option.engine.weights_bytes),
    )


def stack_figures(
    gateway: GatewayPlan, models: Sequence[ServingPlan], pools: Sequence[NodePoolPlan], gpu_quota: int
) -> tuple[Figure, ...]:
    """Return the figures of what is no single model's."""
    return (
        *gateway_figures(gateway, models),
        Figure(
            name="gpu_quota",
            value=gpu_quota,
            unit="GPUs",
            rule="sum of the limits of the pools; no pod of the namespace gets a GPU beyond it",
            inputs={f"gpu_limit_{pool.name}": pool.gpu_limit for pool in pools},
            source="sizing/nodes/pools.py",
        ),
    )


def _deadlines(rollout: Rollout, start: StartUp, probes: Probes, leave: Drain) -> tuple[Figure, ...]:
    facts, source = serving_facts("rollout"), serving_source("rollout")
    return (
        Figure(
            name="cold_start_s",
            value=rollout.cold_start_s,
            unit="s",
            rule="node + image, then the period x failures of the start-up probe; so long, in whole minutes, a new"
            " replica is protected from voluntary disruption",
            inputs={
                "node_s": start.node_s,
                "image_pull_s": start.image_pull_s,
                "startup_period_s": probes.startup.period_s,
                "startup_failures": probes.startup.failure_threshold,
                "protected_s": rollout.protected_s,
            },
            source=source,
        ),
        Figure(
            name="progress_deadline_s",
            value=rollout.progress_deadline_s,
            unit="s",
            rule=f"{facts['wait_over_cold_start']} x cold start + drain of the replica before, at least"
            f" {facts['progress_min_s']} s; a deployment waits for the rollout without that bound",
            inputs={
                "cold_start_s": rollout.cold_start_s,
                "grace_period_s": leave.grace_period_s,
                "await_s": rollout.await_s,
            },
            source=source,
        ),
    )


def _away(rollout: Rollout, option: Option, *, surge: int) -> tuple[Figure, ...]:
    source = serving_source("rollout")
    return (
        Figure(
            name="unavailable",
            value=rollout.unavailable,
            unit=f"{rollout.unavailable_unit} in a rollout",
            rule="one replica is replaced in place where the pools have no room for one more; else the percentage that"
            " lets go of one replica at the ceiling and of none well below it (Kubernetes rounds down)",
            inputs={"surge": surge, "ceiling": option.replicas.ceiling},
            source=source,
        ),
        Figure(
            name="evictable",
            value=rollout.evictable,
            unit="replicas at once",
            rule="replicas of one node, which leaves with all of them; with fewer its drain would not end",
            inputs={"replicas_per_node": option.per_node},
            source="sizing/serving/rollout.py",
        ),
    )


def _place(entry: ModelEntry, option: Option, placement: Placement) -> tuple[Figure, ...]:
    spread = Figure(
        name="max_skew",
        value=placement.max_skew,
        unit=f"replicas between zones, {placement.when_unsatisfiable}",
        rule="a condition from a floor of two in two zones, with half the ceiling so that a full zone does not stop the"
        " others; with lossTolerance zone a condition, with the replicas of one node; else best effort, also on shared"
        " nodes",
        inputs={
            "floor": option.replicas.floor,
            "ceiling": option.replicas.ceiling,
            "zones": len(option.zones),
            "replicas_per_node": option.per_node,
            "lossTolerance": entry.loss_tolerance,
        },
        source="sizing/serving/placement.py",
    )
    if not placement.pool_weights:
        return (spread,)
    weights = Figure(
        name="pool_weights",
        value=", ".join(str(weight) for weight in placement.pool_weights),
        unit="of 100",
        rule="100 x (pools - place) / pools, rounded up: pools are preferred in the order of the plan",
        inputs={"pools": len(placement.pool_weights)},
        source="sizing/serving/placement.py",
    )
    return spread, weights


def _fallback(fallback: Fallback, replicas: Replicas) -> Figure:
    return Figure(
        name="fallback_replicas",
        value=fallback.replicas,
        unit="replicas without metrics",
        rule=f"the planned replicas, unless more run, after {fallback.failures} failed polls; at least one",
        inputs={
            "expected": replicas.expected,
            "ceiling": replicas.ceiling,
            "failures": fallback.failures,
            "least_replicas": fallback.least_replicas,
        },
        source=serving_source("rollout"),
    )


def _ingest(ingest: Ingest, weights_bytes: int) -> tuple[Figure, ...]:
    facts, source = serving_facts("ingest"), serving_source("ingest")
    return (
        Figure(
            name="ingest_deadline_s",
            value=ingest.deadline_s,
            unit="s",
            rule=f"weights / the slowest rate that is accepted, at least {facts['deadline_min_s']} s",
            inputs={"weights_bytes": weights_bytes, "slowest_bytes_per_s": facts["slowest_bytes_per_s"]},
            source=source,
        ),
        Figure(
            name="ingest_scratch_gib",
            value=ingest.scratch_gib,
            unit="GiB",
            rule=f"weights x {facts['scratch_share']:g}, rounded up, between {facts['scratch_min_gib']} and"
            f" {facts['scratch_max_gib']} GiB; files are streamed part by part",
            inputs={"weights_bytes": weights_bytes},
            source=source,
        ),
    )
