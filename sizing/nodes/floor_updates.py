"""What an update of a managed node group costs: it ends a machine before it buys the next, within the plan's ceiling.

EKS can also start machines first, but then up to two for each zone, which no plan has paid for; and a GPU that is sold
out is not sold to the machine that would come first either. So what may be lost is said where the plan is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from sizing.plan import NodePoolPlan


def floor_update_warnings(pools: Sequence[NodePoolPlan]) -> tuple[str, ...]:
    """Return a sentence for each managed pool: what an update takes, for how long, and what carries it meanwhile."""
    return tuple(_warning(pool, pools) for pool in pools if pool.kind == "managed")


def _warning(pool: NodePoolPlan, pools: Sequence[NodePoolPlan]) -> str:
    others = [one.name for one in pools if one.kind != "managed" and set(one.models) & set(pool.models)]
    meanwhile = (
        f"its replicas may go to {' or '.join(others)}"
        if others
        else "no other pool takes its replicas (replicas.ceiling above the floor makes one)"
    )
    machine = f"1 of {pool.floor_instances} {pool.offers[0].instance_type}"
    return (
        f"{pool.name}: an update of its image, disk, tags or Kubernetes version ends a machine before it buys the "
        f"next: {machine} less, until EC2 sells one; {meanwhile}, and an open capacity reservation of the type keeps it"
    )
