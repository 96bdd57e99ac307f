"""What an upgrade costs while it runs: GPU-minutes of capacity that serves nothing, and the replicas that go on.

A replica that is replaced serves nothing from its notice to leave until its successor is ready:

- on a node that is there: drain + (start - node);
- on a node that must be bought or started first: drain + start.

A rollout (model, engine, settings) replaces in waves of what may be away plus what may be extra; with nothing away the
successor is ready before anything leaves. A new node image, and a Kubernetes version, which brings one, replaces
every node: Karpenter buys the successor first, a managed group (strategy MINIMAL) ends the node first. A node that
expires is drained at once, before there is another (Karpenter, "Disruption": expiration is forceful).
All at the planned traffic, without a shortage of machines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sizing.plan import NodePoolPlan, ServingPlan
from sizing.plan.operation import UpgradeLoss
from sizing.units import SECONDS_PER_MINUTE

KINDS = ("model or engine", "node image or Kubernetes", "expiry of nodes")


def upgrade_losses(model: ServingPlan, pools: Sequence[NodePoolPlan]) -> tuple[UpgradeLoss, ...]:
    """Return the loss of each kind of upgrade; ``pools`` are those of the stack."""
    own = [pool for pool in pools if pool.name in model.pools]
    return (_rollout(model), _images(model, own), _expiry(model, own))


def replicas_away(model: ServingPlan, replicas: int) -> int:
    """Return the replicas that a rollout may take away at once; Kubernetes rounds a percentage down."""
    rollout = model.rollout
    return rollout.unavailable if rollout.unavailable_unit == "replicas" else replicas * rollout.unavailable // 100


def replaced_in_place(model: ServingPlan, replicas: int) -> int:
    """Return how often a rollout of ``replicas`` waits for a start with a replica less than before."""
    away = replicas_away(model, replicas)
    return math.ceil(replicas / (away + model.surge)) * away if away else 0


def gap_s(model: ServingPlan, *, new_node: bool) -> float:
    """Return the seconds between the notice to a replica and the readiness of its successor."""
    start = model.start_up
    return model.drain.grace_period_s + start.total_s - (0.0 if new_node else start.node_s)


def _rollout(model: ServingPlan) -> UpgradeLoss:
    running = _running(model)
    lost = replaced_in_place(model, running) * gap_s(model, new_node=False)
    return _loss(KINDS[0], model, lost, replicas_away(model, running))


def _images(model: ServingPlan, pools: Sequence[NodePoolPlan]) -> UpgradeLoss:
    managed, bought = _placed(model, pools)
    lost = managed * gap_s(model, new_node=True) + bought * gap_s(model, new_node=False)
    return _loss(KINDS[1], model, lost, model.rollout.evictable)


def _expiry(model: ServingPlan, pools: Sequence[NodePoolPlan]) -> UpgradeLoss:
    _, bought = _placed(model, pools)
    return _loss(KINDS[2], model, bought * gap_s(model, new_node=True), model.rollout.evictable if bought else 0)


def _placed(model: ServingPlan, pools: Sequence[NodePoolPlan]) -> tuple[int, int]:
    """Return the replicas on managed groups and on Karpenter's nodes."""
    running = _running(model)
    managed = min(running, model.replicas.floor) if any(pool.kind == "managed" for pool in pools) else 0
    return managed, running - managed


def _running(model: ServingPlan) -> int:
    return model.replicas.expected or model.replicas.ceiling


def _loss(kind: str, model: ServingPlan, replica_seconds: float, away: int) -> UpgradeLoss:
    gpus = model.resources.gpus
    return UpgradeLoss(
        kind=kind,
        model=model.name,
        gpu_minutes=round(gpus * replica_seconds / SECONDS_PER_MINUTE, 1),
        serving=max(0, _running(model) - away),
        replicas=_running(model),
    )
