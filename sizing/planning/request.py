"""The request for the plan of a stack: the one argument of ``sizing.planning.planner.plan_stack``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sizing.catalogue import Catalogue
from sizing.cost.transfer import StackTraffic
from sizing.inputs import Budget, Capacity, ModelEntry, VectorStore
from sizing.plan import VectorStorePlan
from sizing.planning.search.options import Market
from sizing.serving.vector_store import plan_vector_store


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """Models with their traffic and objectives, what may be bought for them and where, and the budget for all.

    No field has a default, so that every caller plans the same bill. ``infra.request`` makes it from the settings of a
    stack.
    """

    stack: str
    models: tuple[ModelEntry, ...]
    capacity: Capacity
    budget: Budget
    region: str
    catalogue: Catalogue
    vector_store: VectorStore | None
    internet_facing: bool
    """Whether callers are outside: answers are then billed as transfer to the internet."""
    gateway_proxies: int
    """Proxies of the gateway, which share its limits."""

    @property
    def market(self) -> Market:
        """What may be bought, and where."""
        return Market(capacity=self.capacity, region=self.region, catalogue=self.catalogue)

    @property
    def store(self) -> VectorStorePlan | None:
        """The vector store as planned; None without one."""
        return None if self.vector_store is None else plan_vector_store(self.vector_store)

    @property
    def traffic(self) -> StackTraffic:
        """The traffic of all models, for transfer and load balancer."""
        return StackTraffic(entries=self.models, zones=self.capacity.zones, internet_facing=self.internet_facing)

    def with_entry(self, entry: ModelEntry) -> PlanRequest:
        """Return the request with ``entry`` in place of the one of the same name."""
        return replace(self, models=tuple(entry if one.name == entry.name else one for one in self.models))

    def with_budget(self, monthly_usd: float) -> PlanRequest:
        """Return the request with another budget, in USD per month."""
        return replace(self, budget=self.budget.model_copy(update={"monthly_usd": monthly_usd}))
