"""docs/reports/plans-compared.md, from judged fleets alone: every figure of the page is computed here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.memory.report import Target, table
from benchmarks.plans.judge import SIMULATED, Fleet, Standing
from benchmarks.plans.peers.question import Peer
from benchmarks.plans.workloads import PlanCase
from sizing.plan import ServingPlan

PICTURE = "pictures/plans-compared.svg"
CHEAPER, WORKLOADS = 0.30, 4
"""Promise: least saving over the peers' median, and in how many workloads at least."""
CENT = 0.005
REASONS = 5
INTRODUCTION = """# What the plans cost compared with the peers' picks

Written by `make benchmark-plan`; nothing on this page is typed by hand. Six workloads are put to our planner and to
every peer. Each answer is bought by the same bill (whole GPU nodes on demand in us-east-1; what the cluster costs
besides is the same for all and left out) and judged by the same discrete-event simulation of one replica with its
share of the traffic (`benchmarks/simulator.py`: Poisson arrivals, lengths exponential and lognormal, scaled to the
stated rate and means; the mean of three draws, the worse of the two shapes). It shares no code with the formulas that
plan, but its steps take the time of our own roofline, whose error is on [the throughput
page](accuracy-throughput.md): nothing here was measured on a GPU.

Everybody may serve every checkpoint of the workload, base or FP8 (that of the 30B-A3B is described by the file of a
sister model of the same shape). Doubts go to the peers:

- a peer that answers for several cards or checkpoints gets the cheapest of its answers that meets the objectives in
  the simulation, as if it had known which (where its own cheapest misses, the lines below the table say so);
- a peer that names a card and no instance type gets the cheapest type with that card;
- a peer without a figure for the traffic gets the fewest replicas with which the simulation meets the objectives
  (`simulated` below). No user of it has that figure before he has measured;
- a documented example is not meant for this traffic: only its engine and card are taken, with replicas as above.

Ours gets no such help. It also keeps a margin for its own error (the 95th percentile over requests of all deployments),
which costs replicas that the simulation does not ask for; the row `the same, fewest replicas` is our engine and machine
under the rule of the peers. `slow` below is the larger of both latencies over its objective if the engine is slower
than predicted by the p90 of that error.
"""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One workload: our plan and every peer."""

    case: PlanCase
    plan: ServingPlan
    alternatives: Sequence[ServingPlan]
    ours: Fleet
    ours_fewest: Fleet | None
    spot_usd_per_hour: float
    """Our plan with half of what is above its floor on spot."""
    peers: Mapping[str, Standing]

    def per_million(self, fleet: Fleet) -> float:
        """USD per million output tokens."""
        return fleet.usd_per_hour / self.case.million_tokens_per_hour

    @property
    def fleets(self) -> dict[str, Fleet]:
        """Fleets of the peers that have one."""
        return {name: standing.fleet for name, standing in self.peers.items() if standing.fleet is not None}

    @property
    def meeting(self) -> dict[str, Fleet]:
        """Those of them that meet the objectives."""
        return {name: fleet for name, fleet in self.fleets.items() if fleet.meets}

    @property
    def holding(self) -> dict[str, Fleet]:
        """Those that meet them at the p90 of our own error too."""
        return {name: fleet for name, fleet in self.meeting.items() if fleet.meets_when_slow}

    @property
    def cheaper(self) -> dict[str, Fleet]:
        """Peers that meet the objectives for less than ours."""
        return {n: fleet for n, fleet in self.meeting.items() if fleet.usd_per_hour < self.ours.usd_per_hour - CENT}

    @property
    def below_median(self) -> float | None:
        """Share by which ours is cheaper than the median of the picks that meet; None without any."""
        if not self.meeting:
            return None
        return 1 - self.ours.usd_per_hour / statistics.median(fleet.usd_per_hour for fleet in self.meeting.values())


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that the page needs."""

    compared: Sequence[Compared]
    peers: Mapping[str, Peer]
    not_run: Mapping[str, str] = field(default_factory=dict)

    def label(self, name: str) -> str:
        """Return how the tables call a peer."""
        return str(self.peers[name].NAME)


def targets(results: Results) -> list[Target]:
    """Return what is promised and what was found; None where no peer was asked."""
    found = results.compared
    asked = [one for one in found if one.meeting]
    met = [one for one in found if one.ours.meets]
    lowest = [one for one in asked if not one.cheaper]
    below = [one for one in asked if (one.below_median or 0.0) >= CHEAPER]
    few = [one for one in asked if _fewest_is_lowest(one)]
    sure = [one for one in found if one.holding]
    kept = [one for one in sure if not one.cheaper.keys() & one.holding.keys()]
    total = len(found)
    return [
        Target(promise="our plan meets the objectives", measured=f"{len(met)} of {total}", kept=len(met) == total),
        Target(
            promise="no peer's pick that meets them is cheaper",
            measured=f"{len(lowest)} of {len(asked)}",
            kept=len(lowest) == len(asked) if asked else None,
        ),
        Target(
            promise=f"{_share(CHEAPER)} or more below the median of the peers' picks that meet them, in {WORKLOADS}",
            measured=f"{len(below)} of {len(asked)}",
            kept=len(below) >= WORKLOADS if asked else None,
        ),
        Target(
            promise="no peer's pick that meets them is cheaper than our engine with the fewest replicas",
            measured=f"{len(few)} of {len(asked)}",
            kept=len(few) == len(asked) if asked else None,
        ),
        Target(
            promise="no peer's pick that meets them at the p90 of our error too is cheaper",
            measured=f"{len(kept)} of {len(sure)}",
            kept=len(kept) == len(sure) if sure else None,
        ),
    ]


def _fewest_is_lowest(one: Compared) -> bool:
    least = one.ours_fewest
    return least is not None and all(
        least.usd_per_hour <= fleet.usd_per_hour + CENT for fleet in one.meeting.values()
    )  # fmt: skip


def document(results: Results) -> str:
    """Return the whole page."""
    parts = [
        INTRODUCTION,
        "## What is promised\n",
        table(("promise", "measured", "kept"), ([t.promise, t.measured, _kept(t)] for t in targets(results))),
        "## Side by side\n",
        summary(results),
        f"![USD per million output tokens by planner]({PICTURE})\n",
        *(section(results, one) for one in results.compared),
        "## The planners\n",
        planners(results),
    ]
    return "\n".join(parts)


def _kept(target: Target) -> str:
    return "not asked" if target.kept is None else "yes" if target.kept else "**no**"


def summary(results: Results) -> str:
    """Return one line for each workload, USD per million output tokens."""
    head = ("workload", "ours", "cheapest peer that meets", "median of the peers that meet", "ours below it",
            "cheapest peer that meets at the p90 of our error too", "ours below it")  # fmt: skip
    return table(head, (_summary_row(results, one) for one in results.compared))


def _summary_row(results: Results, one: Compared) -> list[str]:
    below = one.below_median
    middle = statistics.median(map(one.per_million, one.meeting.values())) if one.meeting else None
    (cheapest, _), (sure, sure_usd) = _cheapest(results, one, one.meeting), _cheapest(results, one, one.holding)
    return [
        one.case.title,
        f"**{one.per_million(one.ours):.3f}**" + ("" if one.ours.meets else " misses"),
        cheapest,
        "-" if middle is None else f"{middle:.3f} ({len(one.meeting)})",
        "-" if below is None else _share(below),
        sure,
        "-" if sure_usd is None else _share(1 - one.ours.usd_per_hour / sure_usd),
    ]


def _cheapest(results: Results, one: Compared, fleets: Mapping[str, Fleet]) -> tuple[str, float | None]:
    if not fleets:
        return "-", None
    name, fleet = min(fleets.items(), key=lambda item: (item[1].usd_per_hour, item[0]))
    return f"{one.per_million(fleet):.3f} {results.label(name)}", fleet.usd_per_hour


def _share(value: float) -> str:
    return f"{round(100 * value)} %"


def section(results: Results, one: Compared) -> str:
    """Return the part of the page about one workload."""
    entry = one.case.entry
    work, wanted = entry.workload, entry.objectives
    facts = (
        f"{one.case.about} `{entry.model}`{_or(entry.allowed_variants)}, {work.requests_per_second:g} a second, "
        f"{work.input_tokens} tokens in and {work.output_tokens} out on average; TTFT p95 {wanted.ttft_p95_ms:g} ms, "
        f"TPOT p95 {wanted.tpot_p95_ms:g} ms.\n"
    )
    chosen = (
        f"Ours: {_engine(one.ours)}; `{' '.join(one.plan.engine_args)}`. With half of the nodes above the floor on "
        f"spot the same planner expects {one.spot_usd_per_hour:.2f} USD/h.\n"
    )
    return "\n".join([f"## {one.case.title}\n", facts, _fleets(results, one), chosen, reasons(results, one)])


def _or(variants: Sequence[str]) -> str:
    return "".join(f" or `{name}`" for name in variants)


def _engine(fleet: Fleet) -> str:
    pick = fleet.pick
    wide = f"TP{pick.tensor_parallel}" + (f" PP{pick.pipeline_parallel}" if pick.pipeline_parallel > 1 else "")
    return f"{fleet.replicas} x {pick.gpu} {wide}, {pick.checkpoint.split('/')[-1]}"


def _fleets(results: Results, one: Compared) -> str:
    rows = [_row(one, "**Tonnage**", one.ours)]
    if one.ours_fewest is not None:
        rows.append(_row(one, "the same, fewest replicas", one.ours_fewest))
    ordered = sorted(one.fleets.items(), key=lambda item: (item[1].order, item[0]))
    rows += [_row(one, results.label(name), fleet) for name, fleet in ordered]
    rows += [
        [results.label(name), "-", "-", "-", "-", "-", "-", "-", "-", standing.reason]
        for name, standing in one.peers.items()
        if standing.fleet is None
    ]
    head = ("planner", "nodes", "GPUs", "USD/h", "USD/month", "USD per million out", "TTFT p95 ms", "TPOT p95 ms",
            "slow", "meets")  # fmt: skip
    return table(head, rows)


def _row(one: Compared, label: str, fleet: Fleet) -> list[str]:
    nodes = f"{fleet.nodes} x {fleet.instance_type}: {_engine(fleet)}"
    if fleet.replicas_by == SIMULATED:
        nodes += " (simulated)"
    return [
        label, nodes, str(fleet.gpus), f"{fleet.usd_per_hour:.2f}", f"{fleet.usd_per_month:,.0f}",
        f"{one.per_million(fleet):.3f}", f"{fleet.seen.ttft_p95_ms:.0f}", f"{fleet.seen.tpot_p95_ms:.1f}",
        f"{fleet.slow_share:.2f}", "yes" if fleet.meets else "**no**",
    ]  # fmt: skip


def reasons(results: Results, one: Compared) -> str:
    """Return why the peers that meet cost more or less, then what our planner would buy next."""
    meeting = sorted(one.meeting.items(), key=lambda item: (item[1].usd_per_hour, item[0]))
    lines = [f"- {results.label(name)}: {_why(one.ours, fleet)}" for name, fleet in meeting[:REASONS]]
    following = [
        f"{plan.gpu} TP{plan.tensor_parallel} {plan.model.split('/')[-1]} on {plan.instance_type} "
        f"{plan.usd_per_hour.expected:.2f}"
        for plan in one.alternatives
    ]
    for name, standing in one.peers.items():
        if standing.passed_over is not None:
            lines.append(f"- {results.label(name)}: {_passed_over(standing.passed_over)}")
    lines.append("- next best of our planner, USD/h: " + ("; ".join(following) or "none"))
    return "\n".join(lines) + "\n"


def _passed_over(fleet: Fleet) -> str:
    """Say what a user of the peer would have bought."""
    return (
        f"its cheapest answer, {_engine(fleet)} for {fleet.usd_per_hour:.2f} USD/h, misses: TTFT p95 "
        f"{fleet.seen.ttft_p95_ms:.0f} ms, TPOT p95 {fleet.seen.tpot_p95_ms:.1f} ms"
    )


def _why(ours: Fleet, theirs: Fleet) -> str:
    """Say how the price differs: GPUs bought, price of a GPU hour, replicas where the engine is the same."""
    each, own = theirs.usd_per_hour / theirs.gpus, ours.usd_per_hour / ours.gpus
    text = f"{_count(theirs.gpus)} at {each:.2f} USD/h against {_count(ours.gpus)} at {own:.2f}"
    idle = theirs.gpus - theirs.replicas * theirs.pick.tensor_parallel * theirs.pick.pipeline_parallel
    if idle:
        text += f", {idle} of them idle"
    if theirs.usd_per_hour < ours.usd_per_hour - CENT:
        text += "; cheaper than ours" + ("" if theirs.meets_when_slow else ", and misses at the p90 of our error")
    return text


def _count(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def planners(results: Results) -> str:
    """Return who was asked, at which version, and how."""
    rows = [
        [f"[{peer.NAME}]({peer.SOURCE})", peer.VERSION[:12], peer.LICENCE, peer.FED + _not_run(results, name)]
        for name, peer in results.peers.items()
    ]
    return table(("planner", "version or date read", "licence", "how it was asked, or the files read"), rows)


def _not_run(results: Results, name: str) -> str:
    return f" **Not run: {results.not_run[name]}**" if name in results.not_run else ""
