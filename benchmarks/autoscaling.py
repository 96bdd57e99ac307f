"""Whether the autoscaler of a plan keeps its promise over a day: every model of ``dev`` and ``prod``, random problems.

``python -m benchmarks.autoscaling [--problems 20]`` prints the table; ``--write`` also writes ``docs/scaling.md`` and
its picture. Exits 1 when an autoscaler flaps, or when fewer than 95 % of the plans meet their objectives over the day.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

from benchmarks.plan_problems import random_problem
from benchmarks.service_model import Day, Service, day_shape, simulate
from infra.config import stack_file, settings_from_file
from infra.settings import ServingSettings
from sizing.catalogue import load_catalogue
from sizing.errors import TonnageError
from sizing.inputs import Capacity, ModelEntry
from sizing.options import Option, enumerate_options
from sizing.plan import ServingPlan
from sizing.plan_study import chosen_option, nodes_usd_per_hour
from sizing.planner import plan_stack, serving_plan


def service_of(name: str, entry: ModelEntry, capacity: Capacity, option: Option, plan: ServingPlan) -> Service:
    """Return one planned model as it is to be simulated."""

    def usd_per_hour(nodes: int) -> float:
        return nodes_usd_per_hour(nodes * option.per_node, option, capacity)

    return Service(name, entry, plan, option.engine.replica, usd_per_hour)


def of_stack(stack: str) -> list[Service]:
    """Return the models of a stack file, planned within its budget."""
    settings, catalogue = settings_from_file(stack_file(stack)), load_catalogue()
    assert isinstance(settings, ServingSettings), stack
    plan = plan_stack(stack, settings.models, settings.capacity, settings.budget, settings.region, catalogue)
    found = []
    for entry, model in zip(settings.models, plan.models, strict=True):
        option = chosen_option(model, entry, settings.capacity, settings.region, catalogue)
        found.append(service_of(f"{stack}/{entry.name}", entry, settings.capacity, option, model))
    return found


def of_problem(seed: int) -> Service | None:
    """Return the plan of a random problem; None where there is none."""
    problem = random_problem(seed)
    try:
        search = enumerate_options(problem.entry, problem.capacity, problem.region, load_catalogue(), keep=1)
    except TonnageError:
        return None
    if not search.options:
        return None
    plan = serving_plan(problem.entry, search.options[0], problem.capacity)
    return service_of(f"problem {seed}", problem.entry, problem.capacity, search.options[0], plan)
