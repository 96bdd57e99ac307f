"""What must hold after ``up``: pure comparisons of live objects with the plan."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rehearsal.karpenter.controller import Purchase
from rehearsal.report import Check, Placement
from rehearsal.simulated.pods import Document, asked, is_active, name_of, node_of, room_of, unschedulable
from sizing.nodes.labels import POOL_LABEL, ZONE_ID_LABEL
from sizing.plan import NodePoolPlan, ServingPlan, StackPlan

NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
HOSTNAME_LABEL = "kubernetes.io/hostname"
"""Karpenter's kwok provider makes a node name of the claim's, which is this label, and two random parts."""
MODEL = "model"
LABELS = {
    "instance_type": "node.kubernetes.io/instance-type",
    "zone": ZONE_ID_LABEL,
    "capacity_type": "karpenter.sh/capacity-type",
}


CENT = 0.005
"""USD per hour; smaller differences between sums of prices count as none."""
DOLLARS_DIFFER = 0.03
"""Share by which the dollars bought may differ from those planned."""
PRICE_DIFFERS = 1e-6
"""USD an hour of one node: both sides read the same offer, so only rounding may differ."""


def pool_of(node: Document) -> str:
    """Return the pool that a node belongs to; empty for a system node."""
    labels = node["metadata"].get("labels") or {}
    return str(labels.get(POOL_LABEL) or labels.get("eks.amazonaws.com/nodegroup", ""))


def type_of(node: Document) -> str:
    """Return the instance type of a node."""
    return str((node["metadata"].get("labels") or {}).get(LABELS["instance_type"], ""))


def pods_of(model: str, pods: Sequence[Document]) -> list[Document]:
    """Return the live pods of one model, by name."""
    wanted = {NAME_LABEL: model, COMPONENT_LABEL: MODEL}
    found = [pod for pod in pods if wanted.items() <= (pod["metadata"].get("labels") or {}).items()]
    return sorted((pod for pod in found if is_active(pod)), key=name_of)


def placements(
    stage: str, pods: Sequence[Document], nodes: Sequence[Document], reasons: Mapping[str, str]
) -> list[Placement]:
    """Return where every live pod is; ``reasons`` says why a pod is Pending (``namespace/name`` -> text)."""
    by_name = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in nodes}
    found = []
    for pod in sorted(filter(is_active, pods), key=name_of):
        labels = by_name.get(node_of(pod), {})
        pod_labels = pod["metadata"].get("labels") or {}
        pending = not node_of(pod)
        found.append(
            Placement(
                stage=stage,
                model=pod_labels.get(NAME_LABEL, "") if pod_labels.get(COMPONENT_LABEL) == MODEL else "",
                pod=name_of(pod),
                node=str(labels.get(HOSTNAME_LABEL, node_of(pod))),
                pool=labels.get(POOL_LABEL) or labels.get("eks.amazonaws.com/nodegroup", ""),
                asks=asked(pod).text(),
                missing=(reasons.get(name_of(pod)) or unschedulable(pod) or "not looked at yet") if pending else "",
                **{key: labels.get(label, "") for key, label in LABELS.items()},
            )
        )
    return found


def nothing_pending(stage: str, found: Sequence[Placement], allowed: int = 0) -> Check:
    """No pod is Pending, or at most ``allowed``."""
    waiting = [one for one in found if not one.node]
    detail = f"pod {waiting[0].pod} is Pending: asks for {waiting[0].asks}; {waiting[0].missing}" if waiting else ""
    return Check(name=f"{stage}: no pod Pending", passed=len(waiting) <= allowed, detail=detail or "none")


def replicas_placed(stage: str, plan: StackPlan, found: Sequence[Placement], wanted: Mapping[str, int]) -> Check:
    """Each model has its replicas, each on a pool that the plan names for it and within that pool's ceiling."""
    pools = {pool.name: pool for pool in plan.pools}
    problems = []
    for model in plan.models:
        mine = [one for one in found if one.model == model.name and one.node]
        strays = [one for one in mine if one.pool not in model.pools]
        if strays:
            problems.append(f"{strays[0].pod} is in {strays[0].pool or 'no pool'}, not in {', '.join(model.pools)}")
        if len(mine) != wanted[model.name]:
            problems.append(f"{model.name} has {len(mine)} of {wanted[model.name]} replicas")
    problems += _wrong_machines(found, pools)
    counts = Counter(one.pool for one in found if one.model and one.node)
    told = ", ".join(f"{count} in {pool}" for pool, count in sorted(counts.items()))
    return Check(
        name=f"{stage}: pods where the plan says",
        passed=not problems,
        detail="; ".join(problems) or told or "0 replicas",
    )


def _wrong_machines(found: Sequence[Placement], pools: Mapping[str, NodePoolPlan]) -> list[str]:
    """Return nodes of a type, zone or capacity type that the plan does not allow in their pool, and pools above their
    ceiling.
    """
    problems = []
    for one in found:
        pool = pools.get(one.pool)
        if pool is None or not one.model:
            continue
        if one.instance_type not in {offer.instance_type for offer in pool.offers}:
            problems.append(f"{one.node} is a {one.instance_type}, which pool {pool.name} does not offer")
        if one.zone not in pool.zones:
            problems.append(f"{one.node} is in {one.zone}, not in {', '.join(pool.zones)}")
        if one.capacity_type != pool.capacity_type:
            problems.append(f"{one.node} is {one.capacity_type}, pool {pool.name} is {pool.capacity_type}")
    nodes = Counter(pool for pool, _ in {(one.pool, one.node) for one in found if one.pool in pools})
    problems += [
        f"pool {name} has {count} nodes, its ceiling is {pools[name].ceiling_instances}"
        for name, count in sorted(nodes.items())
        if count > pools[name].ceiling_instances
    ]
    return problems


def pods_as_planned(plan: StackPlan, deployments: Sequence[Document]) -> Check:
    """Probes, shared memory, grace period and GPUs of each live Deployment are as planned."""
    problems = []
    live = {one["metadata"]["name"]: one for one in deployments}
    for model in plan.models:
        found = live.get(model.name)
        if found is None:
            problems.append(f"{model.name} has no Deployment")
            continue
        problems += [f"{model.name}: {difference}" for difference in _pod_differences(model, found)]
    return Check(name="probes, memory and grace as planned", passed=not problems, detail="; ".join(problems) or "equal")


def _pod_differences(model: ServingPlan, deployment: Document) -> list[str]:
    spec = deployment["spec"]["template"]["spec"]
    engine = max(spec["containers"], key=lambda one: room_of((one.get("resources") or {}).get("limits") or {}).gpus)
    limits = room_of((engine.get("resources") or {}).get("limits") or {})
    pairs: dict[str, tuple[Any, Any]] = {
        "grace period": (spec.get("terminationGracePeriodSeconds"), model.drain.grace_period_s),
        "GPUs": (limits.gpus, model.resources.gpus),
        "memory GiB": (round(limits.memory_gib, 2), round(model.resources.memory_gib, 2)),
        "shm": (_shm(spec), f"{model.resources.shm_gib}Gi"),
    }
    for name in ("startup", "liveness", "readiness"):
        probe, planned = engine.get(f"{name}Probe") or {}, getattr(model.probes, name)
        budget = (probe.get("periodSeconds", 10), probe.get("failureThreshold", 3), probe.get("timeoutSeconds", 1))
        pairs[f"{name} probe"] = (budget, (planned.period_s, planned.failure_threshold, planned.timeout_s))
    return [f"{what} is {have}, planned {want}" for what, (have, want) in pairs.items() if have != want]


def _shm(spec: Document) -> str:
    for volume in spec.get("volumes") or []:
        empty = volume.get("emptyDir") or {}
        if empty.get("medium") == "Memory":
            return str(empty.get("sizeLimit"))
    return "missing"


def budget_as_planned(plan: StackPlan, budgets: Sequence[Mapping[str, Any]]) -> Check:
    """The recorded AWS budget has the plan's limit and thresholds."""
    monthly = [one for one in budgets if one.get("timeUnit") == "MONTHLY"]
    name = "budget and thresholds as planned"
    if not monthly:
        return Check(name=name, passed=False, detail="no monthly budget was made")
    limit = float(monthly[0].get("limitAmount") or 0)
    thresholds = {
        kind: {
            float(one["threshold"])
            for one in monthly[0].get("notifications") or []
            if one.get("notificationType") == kind
        }
        for kind in ("ACTUAL", "FORECASTED")
    }
    wanted = {
        "ACTUAL": set(plan.budget.actual_thresholds_percent),
        "FORECASTED": {plan.budget.forecast_threshold_percent},
    }
    problems = (
        [] if abs(limit - plan.budget.monthly_usd) < 0.01 else [f"limit {limit:g}, planned {plan.budget.monthly_usd:g}"]
    )
    problems += [
        f"{kind} thresholds {sorted(thresholds[kind])}, planned {sorted(wanted[kind])}"
        for kind in wanted
        if not all(any(abs(have - want) < 0.01 for have in thresholds[kind]) for want in wanted[kind])
    ]
    return Check(name=name, passed=not problems, detail="; ".join(problems) or f"${limit:,.0f} a month")


def nodes_as_planned(stage: str, plan: StackPlan, purchases: Sequence[Purchase], nodes: Sequence[Document]) -> Check:
    """The nodes of every model are those of the plan, and each costs what the plan says of its type.

    At the floor and at the ceiling every pool has the planned number of nodes. In between spot is bought first, so the
    spot pool may hold nodes that the plan counts on demand: the total is the same and costs no more. Where models with
    pods of different GPU counts share nodes, the plan counts the worst order of scheduling: there may be fewer.
    """
    paid_by_name = {one.node: one.usd_per_hour for one in purchases}
    problems, made, planned = [], 0.0, 0.0
    for models in sorted({pool.models for pool in plan.pools}):
        pools = [pool for pool in plan.pools if pool.models == models]
        own = {pool.name: [node for node in nodes if pool_of(node) == pool.name] for pool in pools}
        wanted = {pool.name: int(getattr(pool, f"{stage}_instances")) for pool in pools}
        counts = {name: len(found) for name, found in own.items()}
        mixed = len({model.resources.gpus for model in plan.models if model.name in models}) > 1
        surplus = sum(counts.values()) - sum(wanted.values())
        if surplus > 0 or (not mixed and (surplus < 0 or (stage != "expected" and counts != wanted))):
            problems.append(f"{_told(counts)}, planned {_told(wanted)}")
        prices = {pool.name: _planned_prices(pool) for pool in pools}
        problems += _wrong_prices(own, prices, paid_by_name)
        paid = sum(
            paid_by_name.get(node["metadata"]["name"], prices[name].get(type_of(node), math.inf))
            for name, found in own.items()
            for node in found
        )
        agreed = sum(wanted[pool.name] * pool.offers[0].usd_per_hour(pool.capacity_type) for pool in pools)
        exact = not mixed and all(pool.capacity_type == "on-demand" for pool in pools if wanted[pool.name])
        if paid > agreed + CENT or (exact and paid < agreed - CENT):
            problems.append(f"{', '.join(models)} costs ${paid:.2f} an hour, planned ${agreed:.2f}")
        made, planned = made + paid, planned + agreed
    detail = "; ".join(problems) or f"${made:.2f} an hour, planned ${planned:.2f}"
    return Check(name=f"{stage}: nodes and their price as planned", passed=not problems, detail=detail)


def _told(counts: Mapping[str, int]) -> str:
    return " and ".join(f"{count} in {name}" for name, count in sorted(counts.items()))


def _planned_prices(pool: NodePoolPlan) -> dict[str, float]:
    return {offer.instance_type: offer.usd_per_hour(pool.capacity_type) for offer in pool.offers}


def _wrong_prices(
    nodes: Mapping[str, Sequence[Document]], prices: Mapping[str, Mapping[str, float]], paid: Mapping[str, float]
) -> list[str]:
    """Return nodes whose price is not the planned one of their type in their pool."""
    problems = []
    for pool, found in sorted(nodes.items()):
        for name, kind in sorted((node["metadata"]["name"], type_of(node)) for node in found):
            planned = prices[pool].get(kind, math.inf)
            if abs(paid.get(name, planned) - planned) > PRICE_DIFFERS:
                problems.append(f"{name} ({kind}) costs ${paid[name]:.4f} an hour, planned ${planned:.4f}")
    return problems


def dollars_as_planned(stage: str, plan: StackPlan, purchases: Sequence[Purchase], nodes: Sequence[Document]) -> Check:
    """All GPU nodes together cost what the plan says, within ``DOLLARS_DIFFER``; at the ceiling no more than that.

    The plan's nodes in the plan's order of preference: the bill splits each hour by the spot share, Karpenter fills the
    spot pool first, which costs no more.
    """
    paid_by_name = {one.node: one.usd_per_hour for one in purchases}
    pools = {pool.name: pool for pool in plan.pools}
    bought = sum(_paid(node, pools, paid_by_name) for node in nodes if _has_gpus(node))
    groups = sorted({pool.models for pool in plan.pools})
    planned = sum(_planned(stage, [pool for pool in plan.pools if pool.models == models]) for models in groups)
    least, most = (0.0, 1.0) if stage == "ceiling" else (1 - DOLLARS_DIFFER, 1 + DOLLARS_DIFFER)
    told = f": {bought / planned:.3f} of it" if planned else ""
    return Check(
        name=f"{stage}: dollars bought as planned",
        passed=planned * least - CENT <= bought <= planned * most + CENT,
        detail=f"${bought:.2f} an hour bought, ${planned:.2f} planned{told}",
    )


def _planned(stage: str, pools: Sequence[NodePoolPlan]) -> float:
    """USD per hour of pools that serve the same models: their planned nodes, in the pool with the most weight first."""
    if stage == "ceiling":
        return sum(pool.usd_per_hour.ceiling for pool in pools)
    nodes, usd = sum(int(getattr(pool, f"{stage}_instances")) for pool in pools), 0.0
    for pool in sorted(pools, key=lambda one: -one.lifetime.weight if one.lifetime else -math.inf):
        bought = min(nodes, pool.ceiling_instances)
        usd += bought * pool.offers[0].usd_per_hour(pool.capacity_type)
        nodes -= bought
    return usd


def _paid(node: Document, pools: Mapping[str, NodePoolPlan], paid: Mapping[str, float]) -> float:
    """USD per hour of a node: of Karpenter its offer's price, of a group the planned one; no end outside the plan."""
    pool = pools.get(pool_of(node))
    planned = _planned_prices(pool).get(type_of(node), math.inf) if pool else math.inf
    return paid.get(node["metadata"]["name"], planned)


def _has_gpus(node: Document) -> bool:
    return room_of(node["status"].get("allocatable") or {}).gpus > 0


def within_ceiling(
    plan: StackPlan, purchases: Sequence[Purchase], nodes: Sequence[Document]
) -> tuple[Check, dict[str, float]]:
    """GPU nodes at the ceiling cost at most the planned ceiling, even if all were on demand."""
    offers = {offer.instance_type: offer for pool in plan.pools for offer in pool.offers}
    paid_by_name = {one.node: one.usd_per_hour for one in purchases}
    paid = all_on_demand = 0.0
    for node in nodes:
        if not _has_gpus(node):
            continue
        offer = offers.get(type_of(node))
        if offer is None:
            detail = f"{node['metadata']['name']} is of a type that the plan does not price"
            return Check(name="bill within the plan's ceiling", passed=False, detail=detail), {}
        paid += paid_by_name.get(node["metadata"]["name"], offer.on_demand_usd_per_hour)
        all_on_demand += offer.on_demand_usd_per_hour
    ceiling = sum(pool.usd_per_hour.ceiling for pool in plan.pools)
    figures = {"paid": round(paid, 4), "all_on_demand": round(all_on_demand, 4), "planned_ceiling": round(ceiling, 4)}
    detail = f"${paid:.2f} an hour bought, ${all_on_demand:.2f} if all on demand, planned at most ${ceiling:.2f}"
    return Check(name="bill within the plan's ceiling", passed=all_on_demand <= ceiling + 1e-6, detail=detail), figures
