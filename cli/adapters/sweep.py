"""Looks for what a destroyed stack left in the account, by tag and by the names of log groups; reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli.adapters.aws import Clients, one_line

if TYPE_CHECKING:
    from infra.sweep import Search

PERMISSIONS = "tag:GetResources, logs:DescribeLogGroups"
REMOVE = {
    "ec2:volume": "aws ec2 delete-volume --volume-id {id}",
    "ec2:network-interface": "aws ec2 delete-network-interface --network-interface-id {id}",
    "ec2:instance": "aws ec2 terminate-instances --instance-ids {id}",
    "ec2:security-group": "aws ec2 delete-security-group --group-id {id}",
    "ec2:launch-template": "aws ec2 delete-launch-template --launch-template-id {id}",
    "ec2:elastic-ip": "aws ec2 release-address --allocation-id {id}",
    "elasticloadbalancing:loadbalancer": "aws elbv2 delete-load-balancer --load-balancer-arn {arn}",
    "elasticloadbalancing:targetgroup": "aws elbv2 delete-target-group --target-group-arn {arn}",
    "logs:log-group": "aws logs delete-log-group --log-group-name {id}",
    "s3:bucket": "aws s3 rb --force s3://{id}",
    "kms:key": "aws kms schedule-key-deletion --key-id {id}",
}
"""Command that removes one by service and type; others are removed where they were made."""


def leftovers(
    searches: Sequence[Search], log_groups: Sequence[str], region: str, make: Clients
) -> list[dict[str, Any]]:
    """Return what the tags and names find, sorted by ARN; BadInput names the call that failed."""
    found: dict[str, str] = {}
    with one_line(PERMISSIONS):
        tagging, logs = make("resourcegroupstaggingapi", region), make("logs", region)
        for search in searches:
            wanted = {"Key": search.key, **({"Values": [search.value]} if search.value else {})}
            for page in tagging.get_paginator("get_resources").paginate(TagFilters=[wanted]):
                for one in page["ResourceTagMappingList"]:
                    found.setdefault(one["ResourceARN"], search.made_by)
        for start in log_groups:
            for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=start):
                for one in page["logGroups"]:
                    found.setdefault(one["arn"].removesuffix(":*"), "a service of AWS")
    return [_entry(arn, found[arn]) for arn in sorted(found)]


def _entry(arn: str, made_by: str) -> dict[str, Any]:
    kind, name = _parts(arn)
    return {"arn": arn, "kind": kind, "made_by": made_by, "remove": REMOVE.get(kind, "").format(id=name, arn=arn)}


def _parts(arn: str) -> tuple[str, str]:
    """Return service and type of an ARN, and the name of the resource."""
    _, _, service, _, _, resource = arn.split(":", 5)
    if service == "s3":
        return "s3:bucket", resource
    mark = min((place for place in (resource.find("/"), resource.find(":")) if place > 0), default=-1)
    if mark < 0:
        return service, resource
    return f"{service}:{resource[:mark]}", resource[mark + 1 :]
