"""The ceiling of a stack, recomputed from its resources alone, is within its budget.

    ceiling per hour = sum over node groups of (max size + nodes that an update adds) x (price + disks)
                     + sum over NodePools of (GPU limit / GPUs per instance) x (price + disks)
                     + fixed costs: control planes, NAT gateways, public addresses, interface endpoints, load balancers,
                       KMS keys, alarms, secrets that AWS keeps for the stack, volumes and memory of stateful sets
                     + logs at the maximum replicas of each model

``price``: on demand, of the most expensive type that the pool may buy; a spot price never exceeds it.

Not covered, because it is in no resource: transfer between zones and to the internet, capacity units of the load
balancer, weights and snapshots in S3, secrets that are made by hand, alarms on models. The plan's bill has all of
these. Above the plan: the alarm on fast burn, and node groups with the disks of the most expensive launch template of
the stack, because only ``up`` knows which template is a group's own. ``tests/test_figures.py`` checks that both
ceilings differ by exactly this list.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.facts.charges import Charge, fixed_charges, node_disk_usd_per_hour, region_of
from policies.facts.pools import Pool, pools
from policies.facts.prices import is_priced, machine, on_demand_usd_per_hour
from policies.graph import Resource, Violation, look, of_type
from policies.rule import Rule
from sizing.units import HOURS_PER_MONTH

BUDGET = "aws:budgets/budget:Budget"
OUTSIDE_POOLS = (
    "aws:autoscaling/group:Group",
    "aws:ec2/fleet:Fleet",
    "aws:ec2/instance:Instance",
    "aws:ec2/spotFleetRequest:SpotFleetRequest",
    "aws:ec2/spotInstanceRequest:SpotInstanceRequest",
)
"""Resources that buy instances without being a pool: their cost has no limit here, so they are violations."""


def burn_ceiling(resources: Sequence[Resource]) -> list[Violation]:
    """Compare the recomputed ceiling with the monthly AWS Budget of the stack.

    A stack that buys GPUs without a budget is a violation; one without either is not judged.
    """
    found = pools(resources)
    gpu = [pool for pool in found if pool.gpu_limit is not None or any(_has_gpu(one) for one in pool.instance_types)]
    budgets = [one for one in of_type(resources, BUDGET) if look(one.props, "timeUnit") == "MONTHLY"]
    if not budgets:
        message = f"{len(gpu)} GPU pools and no monthly budget; hint: tonnage:budget in the stack file"
        return [Violation(resource=gpu[0].resource.urn, message=message)] if gpu else []
    charges, violations = ceiling_charges(resources)
    violations += [
        Violation(resource=one.urn, message=f"{one.name} buys machines outside the pools; hint: a pool of the plan")
        for one in of_type(resources, *OUTSIDE_POOLS)
    ]
    region = region_of(resources)
    if not is_priced(region):
        message = (
            f"the catalogue has no price in {region or 'the region of the stack'}; hint: tonnage catalogue refresh"
        )
        return [*violations, Violation(resource=budgets[0].urn, message=message)]
    limit = min(float(look(one.props, "limitAmount")) for one in budgets)
    monthly = sum(charge.usd_per_hour for charge in charges) * HOURS_PER_MONTH
    if monthly > limit:
        largest = max(charges, key=lambda charge: (charge.usd_per_hour, charge.name))
        share = largest.usd_per_hour * HOURS_PER_MONTH
        message = (
            f"at its ceiling the stack costs ${monthly:,.0f} a month; limit: ${limit:,.0f}; hint: lower the limit of "
            f"{largest.name} (${share:,.0f}) or set monthlyUsd to at least {_round_up(monthly):,d}"
        )
        violations.append(Violation(resource=budgets[0].urn, message=message))
    return violations


def ceiling_charges(resources: Sequence[Resource]) -> tuple[list[Charge], list[Violation]]:
    """Return the ceiling of the stack, line by line, and violations for pools without a limit.

    Fixed costs are left out where the catalogue has no prices of the region.
    """
    region = region_of(resources)
    charges, violations = _pool_charges(pools(resources), resources, region)
    return charges + (fixed_charges(resources, region) if is_priced(region) else []), violations


def _has_gpu(instance_type: str) -> bool:
    found = machine(instance_type)
    return found is not None and found.gpus > 0


def _round_up(usd: float) -> int:
    return -int(-usd // 1)


def _pool_charges(
    found: Sequence[Pool], resources: Sequence[Resource], region: str
) -> tuple[list[Charge], list[Violation]]:
    """Ceiling of every pool; a pool whose ceiling cannot be computed is a violation, not a zero."""
    charges, violations = [], []
    for pool in found:
        prices = [on_demand_usd_per_hour(one, region) for one in pool.instance_types]
        problem = _unbounded(pool, prices, region)
        if problem:
            violations.append(Violation(resource=pool.resource.urn, message=f"pool {pool.name} {problem}"))
        else:
            disk = node_disk_usd_per_hour(pool, resources, region)
            per_node = [(price or 0.0) + disk for price in prices]
            charges.append(Charge(name=pool.name, usd_per_hour=_pool_ceiling(pool, per_node)))
    return charges, violations


def _unbounded(pool: Pool, prices: Sequence[float | None], region: str) -> str:
    if not pool.instance_types:
        return "names no instance types, so its price has no bound; hint: node.kubernetes.io/instance-type In [...]"
    unpriced = [name for name, price in zip(pool.instance_types, prices, strict=True) if price is None]
    if unpriced:
        return f"buys {unpriced[0]}, which has no price in {region}; hint: tonnage catalogue refresh"
    if pool.nodes is None and pool.gpu_limit is None:
        return "has no GPU limit, so its price has no bound; hint: spec.limits"
    if pool.nodes is None and not all(_has_gpu(one) for one in pool.instance_types):
        return "may buy machines without GPU, which its GPU limit does not bound; hint: GPU instance types only"
    return ""


def _pool_ceiling(pool: Pool, prices: Sequence[float]) -> float:
    """USD per hour of the pool at its limit, on demand and of its most expensive type."""
    if pool.nodes is not None:
        return (pool.nodes + pool.update_nodes) * max(prices)
    limit = pool.gpu_limit or 0
    counts = [found.gpus for found in map(machine, pool.instance_types) if found is not None]
    if len(set(counts)) == 1:
        return limit // counts[0] * max(prices)
    return limit * max(price / count for price, count in zip(prices, counts, strict=True))


RULE = Rule(
    name="burn-ceiling",
    description="The most that the stack can cost, recomputed from its resources, is within its budget.",
    level="mandatory",
    check=burn_ceiling,
)
