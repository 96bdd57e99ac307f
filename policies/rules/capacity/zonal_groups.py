"""A node group that may hold zonal volumes has a node in each of its zones, so that a volume always finds one."""

from __future__ import annotations

from collections.abc import Sequence

from policies.facts.pools import NODE_GROUP, is_gpu_pool, pools
from policies.graph import Resource, Violation, look
from policies.rule import Rule


def zonal_groups(resources: Sequence[Resource]) -> list[Violation]:
    """Compare subnets and least nodes of managed groups without GPU; GPU nodes hold no volumes.

    A group over more zones than nodes may replace a node in another zone than the volume of its pods.
    """
    violations = []
    for pool in pools(resources):
        if pool.resource.type != NODE_GROUP or is_gpu_pool(pool):
            continue
        nodes = int(look(pool.resource.props, "scalingConfig", "minSize") or 0)
        zones = len(look(pool.resource.props, "subnetIds") or ())
        if zones > max(nodes, 1):
            message = (
                f"group {pool.name} has {nodes} nodes over {zones} zones; limit: a node in each; hint: a group a zone"
            )
            violations.append(Violation(resource=pool.resource.urn, message=message))
    return violations


RULE = Rule(
    name="zonal-groups",
    description="A node group that may hold zonal volumes has a node in each of its zones.",
    level="mandatory",
    check=zonal_groups,
)
