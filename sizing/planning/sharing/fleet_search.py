"""Which models run on nodes of their own and which share: the cheapest combination of fleets within a budget.

    cost    = min over partitions of the models of the sum of the fleets' expected cost
    subject to the sum of the fleets' ceilings <= what the budget leaves

A fleet is the node pools of one model, or of several that share them. Only shared fleets are tried that cost less than
the cheapest own options of the same models together (or, when the budget is short, have a lower ceiling): own options
can replace any other at no extra cost. ``sizing.planning.sharing.candidates`` bounds what sharing could save; where
large nodes cost more per GPU than small ones, as is usual, no set is left to try.

Exact for up to ``candidates.NEIGHBOURS`` models: every partition is tried. More models are split into groups of that
size that can save most on the same instance type. Each group is solved exactly, then shared fleets of one instance type
are joined while that is cheaper. The time grows about linearly with the models, and the answer never costs more than
own nodes for all.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sizing.inputs import ModelEntry
from sizing.planning.search.options import Market, Option, Search
from sizing.planning.sharing.candidates import Model, Neighbourhood, neighbourhoods
from sizing.planning.sharing.fleets import LEAST_SAVING, Fleet, own_fleet, shared_fleets


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Fleets for some models, with the sums by which combinations are compared."""

    fleets: tuple[Fleet, ...] = ()
    expected: float = 0.0
    gpus: int = 0
    shared: int = 0
    ceiling: float = 0.0

    def with_fleet(self, fleet: Fleet) -> Combination:
        """Return the combination with one more fleet."""
        return Combination(
            fleets=(*self.fleets, fleet),
            expected=self.expected + fleet.usd_per_hour.expected,
            gpus=self.gpus + fleet.gpus,
            shared=self.shared + fleet.shared,
            ceiling=self.ceiling + fleet.ceiling_usd_per_hour,
        )

    def with_all(self, other: Combination) -> Combination:
        """Return the combination with the fleets of ``other`` added."""
        return Combination(
            fleets=(*self.fleets, *other.fleets),
            expected=self.expected + other.expected,
            gpus=self.gpus + other.gpus,
            shared=self.shared + other.shared,
            ceiling=self.ceiling + other.ceiling,
        )

    @property
    def order(self) -> tuple[float, int, int]:
        """Cheapest expected first, then fewer models on shared nodes, then fewer GPUs."""
        return (round(self.expected, 9), self.shared, self.gpus)

    def fleet(self, model: str) -> Fleet:
        """Return the fleet that a model runs on."""
        return next(fleet for fleet in self.fleets if model in fleet.models)


def frontier(combinations: Iterable[Combination]) -> list[Combination]:
    """Return the Pareto frontier of expected cost and ceiling, cheapest expected first."""
    kept: list[Combination] = []
    for one in sorted(combinations, key=lambda c: c.order):  # stable: keeps the order of options
        if not kept or one.ceiling < kept[-1].ceiling - 1e-9:
            kept.append(one)
    return kept


def combinations(
    entries: Sequence[ModelEntry], searches: Sequence[Search], market: Market, most_ceiling_usd_per_hour: float
) -> list[Combination]:
    """Return combinations worth trying, cheapest expected first; the last has the lowest ceiling found.

    Their order and cost do not depend on the order of the entries.
    """
    pairs = sorted(zip(entries, searches, strict=True), key=lambda pair: pair[0].name)
    models = [Model(entry=entry, search=search) for entry, search in pairs]
    apart = _joined([_own(model)[:1] for model in models])[0]
    cheapest = _cheapest(models, market, apart)
    if cheapest.ceiling <= most_ceiling_usd_per_hour - 1e-6:
        fitting = apart.ceiling <= most_ceiling_usd_per_hour and apart is not cheapest
        return [cheapest, apart] if fitting else [cheapest]
    frontiers = _frontiers(models, market)
    lowest_ceiling = _joined([front[-1:] for front in frontiers])[0]
    if lowest_ceiling.ceiling > most_ceiling_usd_per_hour:
        return [lowest_ceiling]
    return [*_joined(frontiers, most_ceiling_usd_per_hour), lowest_ceiling]


def _joined(frontiers: Sequence[Sequence[Combination]], most_ceiling: float = math.inf) -> list[Combination]:
    """Return the frontier of one combination out of each of ``frontiers``, with ceilings up to ``most_ceiling``."""
    lowest = [0.0]
    for front in reversed(frontiers):
        lowest.append(lowest[-1] + front[-1].ceiling)
    found = [Combination()]
    for front, rest in zip(frontiers, reversed(lowest[:-1]), strict=True):
        pairs = [one.with_all(other) for one in found for other in front]
        found = frontier([pair for pair in pairs if pair.ceiling + rest <= most_ceiling + 1e-9])
    return found


def _cheapest(models: Sequence[Model], market: Market, apart: Combination) -> Combination:
    """Return the cheapest combination whatever its ceiling."""
    found = Combination()
    for group in neighbourhoods(models, market, for_ceiling=False):
        own = {model.name: [Combination().with_fleet(own_fleet(model.name, model.best))] for model in group.models}
        blocks = _blocks(group, market, for_ceiling=False)
        found = found.with_all(_partitions(tuple(own), own, blocks)[0])
    best = {model.name: model.best for model in models}
    joined = functools.reduce(Combination.with_fleet, _joined_fleets(list(found.fleets), best, market), Combination())
    return min(apart, joined, key=lambda one: one.order)


def _joined_fleets(fleets: list[Fleet], best: Mapping[str, Option], market: Market) -> list[Fleet]:
    """Merge shared fleets of different neighbourhoods on one instance type, two at a time, while that is cheaper."""
    for one, other in itertools.combinations([fleet for fleet in fleets if fleet.shared], 2):
        candidates = sorted((*one.candidates, *other.candidates), key=lambda candidate: candidate.model)
        limit = one.usd_per_hour.expected + other.usd_per_hour.expected - LEAST_SAVING
        if len({candidate.option.instance.instance_type for candidate in candidates}) == 1:
            apart = [best[candidate.model] for candidate in candidates]
            made = shared_fleets(candidates, apart, market, for_ceiling=False)
            cheapest = min(map(Combination().with_fleet, made), key=lambda one: one.order, default=None)
            if cheapest is not None and cheapest.expected < limit:
                rest = [fleet for fleet in fleets if fleet is not one and fleet is not other]
                return _joined_fleets([*rest, *cheapest.fleets], best, market)
    return fleets


def _frontiers(models: Sequence[Model], market: Market) -> list[list[Combination]]:
    """Return for each neighbourhood the combinations that are cheapest for some budget."""
    frontiers = []
    for group in neighbourhoods(models, market, for_ceiling=True):
        own = {model.name: _own(model) for model in group.models}
        frontiers.append(_partitions(tuple(own), own, _blocks(group, market, for_ceiling=True)))
    return frontiers


Blocks = Mapping[tuple[str, ...], Sequence[Fleet]]


def _partitions(names: tuple[str, ...], own: Mapping[str, Sequence[Combination]], blocks: Blocks) -> list[Combination]:
    """Return the frontier over every partition of ``names`` into own and shared fleets."""
    if not names:
        return [Combination()]
    first, rest = names[0], names[1:]
    found = [one.with_all(other) for one in own[first] for other in _partitions(rest, own, blocks)]
    for members, fleets in blocks.items():
        if members[0] == first and set(members) <= set(names):
            left = _partitions(tuple(name for name in rest if name not in members), own, blocks)
            found += [other.with_fleet(fleet) for fleet in fleets for other in left]
    return frontier(found)


def _blocks(group: Neighbourhood, market: Market, *, for_ceiling: bool) -> Blocks:
    """Return for each set of models the shared fleets that cost less than own nodes.

    ``for_ceiling``: or have a lower ceiling.
    """
    found: dict[tuple[str, ...], list[Fleet]] = {}
    candidates = group.candidates
    best = {model.name: model.best for model in group.models if candidates[model.name]}
    for size in range(2, len(best) + 1):
        for members in itertools.combinations(best, size):
            apart = [best[name] for name in members]
            fleets: list[Fleet] = []
            for kind in sorted(set.intersection(*(set(candidates[name]) for name in members))):
                for chosen in itertools.product(*(candidates[name][kind] for name in members)):
                    fleets += shared_fleets(chosen, apart, market, for_ceiling=for_ceiling)
            if fleets:
                found[members] = [one.fleets[0] for one in frontier(Combination().with_fleet(f) for f in fleets)]
    return found


def _own(model: Model) -> list[Combination]:
    """Return the own options of a model that are cheapest for some budget."""
    return frontier(Combination().with_fleet(own_fleet(model.name, option)) for option in model.search.options)
