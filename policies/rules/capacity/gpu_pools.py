"""GPU pods can be scheduled: their pool exists, they tolerate its taints, and its nodes and limit hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from policies.facts.pools import Pool, is_gpu_pool, pools
from policies.facts.prices import machine
from policies.facts.workloads import GPU_RESOURCE, POOL_LABEL, Workload, most_pods, workloads
from policies.graph import Resource, Violation
from policies.rule import Rule

EVICTING = frozenset({"NoSchedule", "NoExecute"})


def gpu_pools(resources: Sequence[Resource]) -> list[Violation]:
    """Compare every GPU workload with the pools it selects, and every GPU pool with the instance types it may buy.

    A pod larger than its node, a taint without toleration or a maximum above the pool's limit leaves a pod Pending,
    while the pool costs money.
    """
    known = {pool.name: pool for pool in pools(resources)}
    violations = [found for pool in known.values() for found in _pool(pool)]
    serving = [workload for workload in workloads(resources) if workload.gpus]
    for workload in serving:
        violations += _placement(workload, known)
    return violations + _capacity(serving, known, resources)


def _pool(pool: Pool) -> list[Violation]:
    """A GPU pool buys one GPU type, the one in its label, and has a taint against other pods."""
    machines = {one: machine(one) for one in pool.instance_types}
    if not is_gpu_pool(pool) and not any(one is not None and one.gpus for one in machines.values()):
        return []
    problems = []
    if not pool.instance_types:
        problems.append("names no instance types; hint: require node.kubernetes.io/instance-type In [...]")
    problems += [
        f"buys {name}, which has no known GPU; hint: tonnage catalogue show"
        for name, one in machines.items()
        if one is None or not one.gpus
    ]
    found = {one.gpu for one in machines.values() if one is not None and one.gpus}
    if len(found) > 1:
        problems.append(f"mixes {', '.join(sorted(found))}; limit: one GPU type per pool")
    labels = {one.karpenter_name for one in machines.values() if one is not None and one.gpus}
    if pool.gpu_names and labels and labels != set(pool.gpu_names):
        problems.append(f"is labelled {', '.join(pool.gpu_names)} but buys {', '.join(sorted(labels))}")
    if not any(taint["key"] == GPU_RESOURCE and taint["effect"] in EVICTING for taint in pool.taints):
        problems.append(f"has no {GPU_RESOURCE} taint; hint: without it every pod may occupy a GPU node")
    if pool.nodes is None and pool.gpu_limit is None:
        problems.append(f"has no limit on {GPU_RESOURCE}; hint: set spec.limits, or a bug buys without end")
    return [Violation(resource=pool.resource.urn, message=f"pool {pool.name} {problem}") for problem in problems]


def _placement(workload: Workload, known: Mapping[str, Pool]) -> list[Violation]:
    """A GPU workload selects pools that exist, tolerates their taints and fits on their nodes."""
    name, urn = workload.resource.object_name, workload.resource.urn
    if not workload.pools:
        message = f"{name} asks for {workload.gpus} GPUs but names no pool; hint: require {POOL_LABEL} In [...]"
        return [Violation(resource=urn, message=message)]
    problems = []
    for wanted in workload.pools:
        pool = known.get(wanted)
        if pool is None:
            problems.append(f"wants pool {wanted}; there is: {', '.join(sorted(known)) or 'none'}")
            continue
        problems += [
            f"does not tolerate {taint['key']}={taint['value']}:{taint['effect']} of pool {wanted}"
            for taint in pool.taints
            if taint["effect"] in EVICTING and not workload.tolerates(taint)
        ]
        small = [one for one in pool.instance_types if _gpus(one) < workload.gpus]
        if small:
            problems.append(f"asks for {workload.gpus} GPUs; pool {wanted} buys {small[0]} with {_gpus(small[0])}")
    return [Violation(resource=urn, message=f"{name} {problem}") for problem in problems]


def _gpus(instance_type: str) -> int:
    found = machine(instance_type)
    return found.gpus if found else 0


def _capacity(serving: Iterable[Workload], known: Mapping[str, Pool], resources: Sequence[Resource]) -> list[Violation]:
    """All workloads of a set of pools, at their maximum replicas together, fit into the limits of the set."""
    violations = []
    for group in _sharing(serving):
        names = sorted({name for workload in group for name in workload.pools if name in known})
        room = sum(_room(known[name]) for name in names)
        wanted = sum(most_pods(workload, resources) * workload.gpus for workload in group)
        if names and wanted > room:
            who = ", ".join(sorted(workload.resource.object_name for workload in group))
            message = (
                f"{who} may ask for {wanted} GPUs; limit: {room} in {', '.join(names)}; "
                "hint: raise the pool limit or lower maxReplicaCount"
            )
            violations.append(Violation(resource=group[0].resource.urn, message=message))
    return violations


def _room(pool: Pool) -> int:
    if pool.nodes is None:
        return pool.gpu_limit or 0
    return pool.nodes * min((_gpus(one) for one in pool.instance_types), default=0)


def _sharing(serving: Iterable[Workload]) -> list[list[Workload]]:
    """Group workloads that share a pool, directly or through others."""
    groups: list[tuple[set[str], list[Workload]]] = []
    for workload in serving:
        names, members = set(workload.pools), [workload]
        apart = []
        for other_names, other_members in groups:
            if other_names & names:
                names |= other_names
                members = other_members + members
            else:
                apart.append((other_names, other_members))
        groups = [*apart, (names, members)]
    return [members for _, members in groups]


RULE = Rule(
    name="gpu-pools",
    description="GPU pods tolerate, name and fit the pools that exist; pools buy the GPU they are labelled with.",
    level="mandatory",
    check=gpu_pools,
)
