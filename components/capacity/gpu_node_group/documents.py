"""The managed node group of the on-demand floor: names, labels, taints, sizes."""

from __future__ import annotations

from components.common.names import MOST_NODE_GROUP_NAME, with_digest
from sizing.errors import BadInput
from sizing.plan import NodePoolPlan


def check_pool(pool: NodePoolPlan) -> None:
    """Raise ``BadInput`` unless the pool can be a managed node group of fixed size."""
    where = f"pools.{pool.name}"
    if pool.kind != "managed":
        raise BadInput(where, f"kind is {pool.kind}", limit="managed", way_out="give Karpenter pools to KarpenterPools")
    if not pool.offers or not pool.zones:
        raise BadInput(where, "has no instance type or no zone", way_out="allow more GPUs or zones in capacity")
    if not 0 <= pool.floor_instances <= pool.ceiling_instances or pool.ceiling_instances < 1:
        raise BadInput(
            where, f"sizes {pool.floor_instances} to {pool.ceiling_instances}", limit="0 <= floor <= ceiling"
        )


def instance_types(pool: NodePoolPlan) -> list[str]:
    """Return the types that the group may buy, in the order of the plan (cheapest first)."""
    return [offer.instance_type for offer in pool.offers]


def node_group_name(cluster: str, pool: NodePoolPlan, ami_type: str) -> str:
    """Return a name that changes exactly when EKS must replace the group.

    Instance types, image type, zones and capacity type cannot be changed in place. With them in the name the new
    group can exist beside the old one, so a replacement moves pods instead of removing them first.
    """
    fixed = "|".join([cluster, ami_type, pool.capacity_type, *instance_types(pool), *sorted(pool.zones)])
    return with_digest(pool.name, fixed, MOST_NODE_GROUP_NAME)


def scaling(pool: NodePoolPlan) -> dict[str, int]:
    """Return the sizes: the floor runs always, the ceiling is the plan's."""
    return {
        "min_size": pool.floor_instances,
        "desired_size": pool.floor_instances,
        "max_size": pool.ceiling_instances,
    }


def taint(pool: NodePoolPlan) -> dict[str, str]:
    """Return the taint in the form of the EKS API."""
    return {"key": pool.taint_key, "value": pool.taint_value, "effect": "NO_SCHEDULE"}
