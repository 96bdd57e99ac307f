"""How long Karpenter keeps the nodes of a pool, and which pool it buys from first.

Every time follows from the models of the pool: how long a replica takes to start and to leave. Seconds, in whole
minutes because the NodePool counts in those.

Nodes that are bought together expire together. No budget of Karpenter bounds expiry; the disruption budgets of the
models let one node's replicas go at a time. So each node is given the time of all of them, and pools expire apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sizing.catalogue.files import serving_facts, serving_source
from sizing.plan import Figure, NodePoolPlan, ServingPlan
from sizing.plan.operation import NodeLifetime
from sizing.units import SECONDS_PER_MINUTE, round_up


def with_lifetimes(pools: Iterable[NodePoolPlan], models: Sequence[ServingPlan]) -> tuple[NodePoolPlan, ...]:
    """Return the pools of a stack with the lifetimes of their nodes; no two of Karpenter's expire nodes together."""
    found: list[NodePoolPlan] = []
    for pool in pools:
        bought_before = sum(one.kind == "karpenter" for one in found)
        found.append(with_lifetime(pool, models, place=bought_before))
    return tuple(found)


def with_lifetime(pool: NodePoolPlan, models: Sequence[ServingPlan], *, place: int = 0) -> NodePoolPlan:
    """Return the pool with the lifetime of its nodes and why; a managed group has a fixed size and stays as it is.

    ``place``: Karpenter pools of the stack before this one.
    """
    if pool.kind == "managed":
        return pool
    served = [model for model in models if model.name in pool.models]
    found = lifetime(pool, served, place)
    return replace(pool, lifetime=found, figures=_figures(pool, served, found))


def lifetime(pool: NodePoolPlan, served: Sequence[ServingPlan], place: int) -> NodeLifetime:
    """Return when nodes of ``pool`` are bought, kept and removed; ``served`` are the models that it serves."""
    facts, terminate_s = serving_facts("node_lifetime"), termination_s(served, pool.ceiling_instances)
    return NodeLifetime(
        weight=preference(pool, served),
        consolidate_after_s=consolidate_after_s(served),
        termination_s=terminate_s,
        expire_after_h=facts["expire_after_h"] + place * facts["expire_apart_h"],
        deletion_s=max(facts["deletion_min_s"], terminate_s),
    )


def consolidate_after_s(served: Sequence[ServingPlan]) -> int:
    """Return the seconds that an empty node is kept: longer than the slowest start, so that none is thrown away."""
    facts = serving_facts("node_lifetime")
    starts = (facts["consolidate_over_start_up"] * model.start_up.total_s for model in served)
    return round_up(max([facts["consolidate_min_s"], *starts]), SECONDS_PER_MINUTE)


def termination_s(served: Sequence[ServingPlan], nodes: int) -> int:
    """Return the seconds that a leaving node may take.

    The replacement starts twice over, then the longest drain; as often as there are ``nodes``, which may all leave
    from one minute on while the disruption budgets let one go after the other.
    """
    facts = serving_facts("node_lifetime")
    times = facts["terminate_over_start_up"]
    leaving = (times * model.start_up.total_s + model.drain.grace_period_s for model in served)
    each = round_up(max([facts["terminate_min_s"], *leaving]), SECONDS_PER_MINUTE)
    return each * max(nodes, 1)


def preference(pool: NodePoolPlan, served: Sequence[ServingPlan]) -> int:
    """Return the weight of the pool: pools that the plans name earlier are bought first."""
    facts = serving_facts("node_lifetime")
    return int(max(1, facts["highest_weight"] - facts["weight_step"] * _place(pool, served)))


def _place(pool: NodePoolPlan, served: Sequence[ServingPlan]) -> int:
    """Return the first place at which a model names the pool."""
    return min((model.pools.index(pool.name) for model in served if pool.name in model.pools), default=0)


def _figures(pool: NodePoolPlan, served: Sequence[ServingPlan], found: NodeLifetime) -> tuple[Figure, ...]:
    facts, source = serving_facts("node_lifetime"), serving_source("node_lifetime")
    start_s = max((model.start_up.total_s for model in served), default=0.0)
    drain_s = max((model.drain.grace_period_s for model in served), default=0)
    return (
        Figure(
            name="consolidate_after_s",
            value=found.consolidate_after_s,
            unit="s",
            rule=f"{facts['consolidate_over_start_up']:g} x the slowest start of its models, at least"
            f" {facts['consolidate_min_s']} s, in whole minutes; only empty nodes are removed",
            inputs={"start_up_s": round(start_s, 1)},
            source=source,
        ),
        Figure(
            name="termination_s",
            value=found.termination_s,
            unit="s",
            rule=f"({facts['terminate_over_start_up']} x start + drain of the slowest of its models, at least"
            f" {facts['terminate_min_s']} s, in whole minutes) x nodes: those bought together expire together, and"
            " leave one after the other",
            inputs={"start_up_s": round(start_s, 1), "grace_period_s": drain_s, "nodes": pool.ceiling_instances},
            source=source,
        ),
        Figure(
            name="deletion_s",
            value=found.deletion_s,
            unit="s",
            rule=f"what a leaving node may take, at least {facts['deletion_min_s']} s",
            inputs={"termination_s": found.termination_s},
            source=source,
        ),
        Figure(
            name="expire_after_h",
            value=found.expire_after_h,
            unit="h",
            rule="a node is replaced at this age, so that its image does not age without end;"
            f" {facts['expire_apart_h']} h later for each pool of the stack before it, so that pools expire apart",
            inputs={},
            source=source,
        ),
        Figure(
            name="weight",
            value=found.weight,
            unit="of 100",
            rule=f"{facts['highest_weight']} less {facts['weight_step']} for each pool that its models name earlier",
            inputs={"place": _place(pool, served)},
            source=source,
        ),
    )
