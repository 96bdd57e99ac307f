"""The typed contract between a cluster stack and the serving stack that deploys on it.

The cluster stack exports ``ClusterOutputs``; the serving stack reads them through a StackReference and gets plain
values, also in previews, because another stack's outputs are never unknown. ``VERSION`` changes when a field is
removed or changes its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import pulumi
from pulumi.runtime import invoke_async

from sizing.errors import BadInput

VERSION = 1
EXPORT = "cluster"
"""Name of the stack output with the contract."""
READ_OUTPUTS = "pulumi:pulumi:readStackOutputs"
"""The engine's own function that reads another stack; unlike a StackReference it may fail without ending the update."""


@dataclass(frozen=True, kw_only=True)
class ClusterOutputs:
    """What the serving stack needs to know of its cluster. Every value is plain: text, or a mapping of it."""

    region: str
    cluster_name: str
    cluster_arn: str
    kubernetes_version: str
    """Version of the control plane: node groups and the image of Karpenter's nodes follow it."""
    endpoint: str
    certificate_authority: str
    security_group_id: str
    node_role_arn: str
    node_role_name: str
    private_subnet_ids: Mapping[str, str]
    """Zone id -> private subnet."""
    private_cidrs: Mapping[str, str]
    """Zone id -> addresses of its private subnet."""
    system_nodes: Mapping[str, int]
    """Zone id -> nodes without GPU; zones that have none are left out."""
    system_instance_type: str
    repository_url: str
    secret_store: str
    """ClusterSecretStore with which External Secrets reads Secrets Manager."""
    secrets_prefix: str
    """Prefix of the secrets that this cluster may read."""
    prometheus_address: str
    karpenter_role_name: str
    """Role of the Karpenter controller: a budget freeze denies it new instances."""


def to_exports(values: Mapping[str, pulumi.Input[Any]]) -> dict[str, pulumi.Input[Any]]:
    """Return the export of a cluster stack; ``values`` has every field of ``ClusterOutputs``, outputs allowed."""
    names = {field.name for field in fields(ClusterOutputs)}
    if set(values) != names:
        msg = f"cluster outputs differ from the contract: {sorted(names ^ set(values))}"
        raise ValueError(msg)
    return {"version": VERSION, **{name: values[name] for name in sorted(values)}}


def reference_name(cluster_stack: str) -> str:
    """Return the full name of a cluster stack of this project in the current organization."""
    return f"{pulumi.get_organization()}/{pulumi.get_project()}/{cluster_stack}"


def parse(exported: object, cluster_stack: str) -> ClusterOutputs:
    """Return the outputs of a cluster stack; BadInput names the stack and how to deploy it."""
    where = f"cluster stack {cluster_stack}"
    way_out = f"deploy {cluster_stack} first: pulumi up --stack {cluster_stack}"
    if not isinstance(exported, Mapping):
        raise BadInput(where, f"has no output {EXPORT!r}", way_out=way_out)
    version = exported.get("version")
    if version != VERSION:
        raise BadInput(where, f"has outputs of version {version!r}", limit=f"version {VERSION}", way_out=way_out)
    values: dict[str, Any] = {}
    for field in fields(ClusterOutputs):
        value = exported.get(field.name)
        wanted = Mapping if "Mapping" in str(field.type) else str
        if not isinstance(value, wanted) or not value:
            problem = "is missing" if value is None else f"is {value!r}"
            raise BadInput(where, f"output {EXPORT}.{field.name} {problem}", way_out=way_out)
        values[field.name] = value
    return ClusterOutputs(**values)


async def from_reference(cluster_stack: str) -> ClusterOutputs:
    """Read the outputs of a deployed cluster stack; BadInput when it is missing, destroyed or of another version."""
    name = reference_name(cluster_stack)
    await _must_exist(name, cluster_stack)
    try:
        reference = pulumi.StackReference(name)
        outputs = await reference.outputs.future()
    except Exception as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(
            f"cluster stack {cluster_stack}",
            f"cannot be read ({problem})",
            way_out=f"deploy {cluster_stack} first: pulumi up --stack {cluster_stack}",
        ) from error
    return parse((outputs or {}).get(EXPORT), cluster_stack)


async def deployed_outputs() -> Mapping[str, Any]:
    """Return what the running stack exported when it was deployed last; nothing before the first time."""
    name = reference_name(pulumi.get_stack())
    try:
        answer = await invoke_async(READ_OUTPUTS, {"name": name})
    except Exception as error:
        if "unknown stack" in str(error):
            return {}
        raise BadInput(f"stack {pulumi.get_stack()}", f"its outputs cannot be read ({error})") from error
    return dict((answer or {}).get("outputs") or {})


async def _must_exist(name: str, cluster_stack: str) -> None:
    """Check that the stack exists: a reference to a missing one ends the engine before the program can give a hint."""
    try:
        await invoke_async(READ_OUTPUTS, {"name": name})
    except Exception as error:
        if "unknown stack" in str(error):
            way_out = f"deploy {cluster_stack} first: pulumi up --stack {cluster_stack}"
            raise BadInput(f"cluster stack {cluster_stack}", "does not exist", way_out=way_out) from error
        pulumi.log.debug(f"{name}: {error}")  # the reference meets it again and names it
