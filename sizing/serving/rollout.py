"""How replicas are replaced: what one may need from nothing, and how many may be away at once."""

from __future__ import annotations

import math
from typing import Literal

from sizing.catalogue.files import serving_facts
from sizing.plan import Replicas, StartUp
from sizing.plan.operation import Drain, Probes, Rollout
from sizing.units import SECONDS_PER_MINUTE, round_up


def rollout(start: StartUp, probes: Probes, leave: Drain, replicas: Replicas, *, per_node: int, surge: int) -> Rollout:
    """Return the deadlines and the most that may be away, with ``per_node`` replicas on a node.

    A replica that is replaced in place keeps its GPU until it has drained, and the new one waits for it.
    """
    facts, cold_s = serving_facts("rollout"), cold_start_s(start, probes)
    wait_s = facts["wait_over_cold_start"] * cold_s + leave.grace_period_s
    unavailable, unit = unavailable_in_rollout(replicas, surge)
    return Rollout(
        cold_start_s=cold_s,
        protected_s=round_up(cold_s, SECONDS_PER_MINUTE),
        progress_deadline_s=max(facts["progress_min_s"], wait_s),
        await_s=wait_s,
        unavailable=unavailable,
        unavailable_unit=unit,
        evictable=evictable(per_node),
    )


def cold_start_s(start: StartUp, probes: Probes) -> int:
    """Return the seconds that a replica may need from nothing: node and image, then its start-up probe's budget."""
    budget_s = probes.startup.period_s * probes.startup.failure_threshold
    return math.ceil(start.node_s + start.image_pull_s) + budget_s


def unavailable_in_rollout(replicas: Replicas, surge: int) -> tuple[int, Literal["replicas", "percent"]]:
    """Return what a rollout may take away, so that it proceeds whether or not a GPU is spare.

    Without a spare GPU an extra pod would stay Pending for ever: then one replica is replaced in place. With one,
    there is none left once the autoscaler is at the ceiling; Kubernetes rounds a percentage of the replicas down, so
    this one lets go of a replica at the ceiling and of none well below it.
    """
    if not surge:
        return serving_facts("rollout")["in_place"], "replicas"
    return math.ceil(100 / replicas.ceiling), "percent"


def evictable(per_node: int) -> int:
    """Return the replicas that a drain may take away at once: those of one node.

    A node leaves with every replica on it: with less than that many allowed, the first one evicted has nowhere to
    go, the second is never evicted, and the drain does not end.
    """
    return max(1, per_node)
