"""The program: settings -> plan -> components -> outputs. One function per layer, composed from data.

``main`` is what ``infra/__main__.py`` runs, under the language host, the Automation API and the offline mocks alike.
The serving layer first awaits the plain outputs of its cluster stack, so that every resource of it is known to a
preview.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pulumi

from components.budget import BudgetGuard, BudgetGuardArgs
from components.cluster import Cluster, ClusterArgs
from components.documents.gateway import route_for
from components.gateway import Gateway, GatewayArgs
from components.gpu_node_group import GpuNodeGroup, GpuNodeGroupArgs
from components.karpenter import KarpenterController, KarpenterControllerArgs, KarpenterPools, KarpenterPoolsArgs
from components.model_service import ModelService, ModelServiceArgs
from components.model_store import ModelStore, ModelStoreArgs
from components.namespace import Namespace, NamespaceArgs
from components.network import Network, NetworkArgs
from components.operators import Operators, OperatorsArgs
from components.registry import Registry, RegistryArgs
from components.vector_store import VectorStore, VectorStoreArgs
from infra import versions
from infra.config import settings_from_pulumi
from infra.outputs import EXPORT, ClusterOutputs, from_reference, to_exports
from infra.providers import aws_provider, kubernetes_provider
from infra.settings import ClusterSettings, ServingSettings
from sizing.catalogue import load_catalogue
from sizing.errors import BadInput, TonnageError
from sizing.plan import StackPlan
from sizing.planner import plan_stack

Exports = dict[str, Any]
GATEWAY_NAMESPACE = "envoy-gateway-system"


def main() -> None:
    """Read the settings of the running stack and compose its layer; errors of the user end it with one line."""
    settings = _told(settings_from_pulumi)
    if isinstance(settings, ClusterSettings):
        exports = _told(lambda: compose_cluster(settings))
        for name, value in sorted(exports.items()):
            pulumi.export(name, value)
        return
    pulumi.run(lambda: _serve(settings))


async def _serve(settings: ServingSettings) -> Exports:
    """Compose the serving layer once the outputs of its cluster are read."""
    try:
        plan = plan_for(settings, pulumi.get_stack())
        outputs = await from_reference(cluster_stack(settings, pulumi.get_stack()))
        return compose_serving(settings, plan, outputs)
    except TonnageError as error:
        raise _run_error(error) from error


def _told(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except TonnageError as error:
        raise _run_error(error) from error


def _run_error(error: TonnageError) -> pulumi.RunError:
    """Turn an error for the user into the one that ends a program without a traceback, and say it at once."""
    pulumi.log.error(error.line())
    return pulumi.RunError(error.line())


def cluster_stack(settings: ServingSettings, stack: str) -> str:
    """Return the name of the stack that holds the cluster of a serving stack."""
    return settings.cluster_stack or f"{stack}-cluster"


def plan_for(settings: ServingSettings, stack: str) -> StackPlan:
    """Return the plan of a serving stack: pure, the same for every caller."""
    return plan_stack(
        stack,
        settings.models,
        settings.capacity,
        settings.budget,
        settings.region,
        load_catalogue(),
        vector_store=settings.vector_store,
    )
