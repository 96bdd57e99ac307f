"""Makes the ``PlanRequest`` of a stack from its settings: the same for ``up``, preview, ``measure`` and ``advise``."""

from __future__ import annotations

from pathlib import Path

from infra.config import settings_from_file, stack_file
from infra.settings.serving import ServingSettings
from sizing.catalogue import Catalogue, load_catalogue
from sizing.errors import BadInput
from sizing.planning.request import PlanRequest


def plan_request(settings: ServingSettings, stack: str, catalogue: Catalogue) -> PlanRequest:
    """Return the request of ``stack``; no other code reads settings that change a plan."""
    return PlanRequest(
        stack=stack,
        models=tuple(settings.models),
        capacity=settings.capacity,
        budget=settings.budget,
        region=settings.region,
        catalogue=catalogue,
        vector_store=settings.vector_store,
        internet_facing=settings.gateway.scheme == "internet-facing",
        gateway_proxies=settings.gateway.replicas,
    )


def request_of_file(stack: str, stacks_dir: Path, where: str) -> PlanRequest:
    """Return the request of a stack file; BadInput names ``where`` if it serves no models."""
    settings = settings_from_file(stack_file(stack, stacks_dir))
    if not isinstance(settings, ServingSettings):
        raise BadInput(where, f"{stack} serves no models", way_out="name the serving stack, not its cluster")
    return plan_request(settings, stack, load_catalogue())
