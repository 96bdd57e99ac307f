"""docs/reports/scaling.md, from simulated days alone: every figure is computed here or read from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.autoscaling.rows import DRAWN, FIRST_PROBLEM, LOSS, MOST_REQUESTS_PER_S, PLANNED, REACTIVE, SLOW, Row
from benchmarks.autoscaling.service_model import FLAP_S, REASON
from benchmarks.memory.report import Target, table
from sizing.catalogue.files import serving_facts

PAGE, PICTURE = "scaling.md", "pictures/scaling.svg"
MET_SHARE = 0.95
Rows = Sequence[Mapping[str, Row]]
HEADS = (
    "plan", "what", "floor / expected / ceiling", "calls", "within both objectives", "TTFT p95", "TPOT p95",
    "worst hour", "scale-ups", "flaps", "mean replicas", "USD/h", "planned USD/h",
)  # fmt: skip
LOSS_HEADS = ("plan", "what", "floor / expected / ceiling", "calls", "within both objectives", "TTFT p95", "TPOT p95")
LOSSES = """Plans that state a lossTolerance lose a node, or every node of one zone, at the planned traffic with the
expected replicas; the calls are those that arrive from then on until the replacement is ready. Calls that ran on what
was lost are cut: their clients must ask again.
"""
OTHERWISE = f"""*{REACTIVE}*: the queue, the cache and TTFT alone scale, as in guides that scale on vLLM's own metrics:
TPOT then has no guard, and queue and latency swing with the number of replicas. *{SLOW}*: every step takes as much
longer as the p90 of the throughput estimate's TPOT error; plans keep a margin for it in the latencies they promise, not
in the traffic that a replica carries. *cost* is that of the day over the plan's expected, the mean over the plans.
"""


def introduction() -> str:
    """Return what is simulated and what the words mean."""
    facts = serving_facts("scaling")
    return f"""# Whether the autoscaler keeps the promise

Written by `make benchmark-scaling`; nothing on this page is typed by hand. A day of each plan is simulated
(`benchmarks/autoscaling/service_model.py`): replicas that batch continuously at the planner's own roofline, a gateway
that sends a call to the less busy of two, metrics that are one scrape old, KEDA's triggers through the arithmetic of
the Kubernetes autoscaler with the plan's tolerance, windows and policies, nodes that are bought, start, drain and stay
while empty. Nothing of the planner's queue formulas is shared. The engine of a day is that of `benchmarks/simulator.py`
with jumps over steps in which nothing happens; a test holds the two together.

Traffic follows the workload's dailyShape, or a cosine from minimumShare to 1 of requestsPerSecond, with gaps of its
burstiness (1 is Poisson). From ten o'clock it rises to peakFactor times the hour's rate within an hour and stays there
for half an hour; at sixteen it **jumps** to peakFactor at once for half an hour. The rise is planned for, the jump is
not: until a node has started the objectives may be missed. Lengths are those of the workload; where it states no tail
they are exponential in every other plan and lognormal in the rest. Requests that may wait (batchShare) take part and
are not judged.

The plans are every model of the `dev` and `prod` stack files and the first random problems
(`benchmarks/plans/problems.py`) from number {FIRST_PROBLEM} on, up to {MOST_REQUESTS_PER_S:g} requests per second, that
have something to scale. The autoscaler's figures were chosen while the days of other problems and of the two stacks
were in view.

- *Within*: share of the calls that met TTFT and TPOT; p95 columns are the day's 95th percentile over the objective.
- *Flap*: a replica is started within {FLAP_S // 60} minutes of one that was let go, although the offered traffic has
  not grown by {REASON:.0%} since.
- *USD/h*: nodes as they were bought, at the prices of the plan, beside the plan's floor / expected / ceiling.

The rule behind the plans: a replica is added when arrivals pass what the running ones carry within the objectives,
less the rise within the lag of a start, and let go when they are the tolerance lower: {facts["tolerance"]:.0%}, and
{facts["tolerance_deviations"]} standard deviations of what a window counts where the first replica is added
([decision 10](../adr/0010-scaling-from-chance-in-the-arrivals.md)). Arrivals do not depend on the number of replicas,
which is why nothing swings; queue, cache and TTFT add replicas where requests are not those that were planned.
"""


def promises(rows: Rows) -> list[Target]:
    """Return what is promised of the plans, and whether it is kept."""
    days, losses = [row[PLANNED] for row in rows], [row[LOSS] for row in rows if LOSS in row]
    met, flaps = sum(day.met for day in days), sum(day.flaps for day in days)
    above = [day for day in days if day.usd > float(day.usd_bounds.split(" / ")[2]) + 0.005]
    return [
        Target(promise="no flapping", measured=f"{flaps} flaps in {len(days)} days", kept=flaps == 0),
        Target(
            promise=f"both p95 objectives met over the day in >= {MET_SHARE:.0%} of the plans",
            measured=f"{met} of {len(days)} ({met / max(len(days), 1):.0%})",
            kept=met >= MET_SHARE * len(days),
        ),
        Target(
            promise="both p95 objectives met from the tolerated loss at the planned traffic until it is replaced",
            measured=f"{sum(day.met for day in losses)} of {len(losses)}",
            kept=all(day.met for day in losses),
        ),
        Target(
            promise="the day never costs more than the ceiling",
            measured=f"{len(above)} of {len(days)} do",
            kept=not above,
        ),
    ]


def _cells(row: Row) -> list[str]:
    return [
        row.name, row.what, row.replicas, f"{row.calls}", f"{row.within:.2%}", f"{row.ttft_share:.2f}",
        f"{row.tpot_share:.2f}", f"{row.worst_within:.1%} at {row.worst_hour}:00", f"{row.ups}", f"{row.flaps}",
        f"{row.mean_replicas:.2f}", f"{row.usd:.2f}", row.usd_bounds,
    ]  # fmt: skip


def _loss_cells(row: Row) -> list[str]:
    said = (f"{row.calls}", f"{row.within:.2%}", f"{row.ttft_share:.2f}", f"{row.tpot_share:.2f}")
    return [row.name, row.what, row.replicas, *said]


def _variants(rows: Rows) -> list[list[str]]:
    found = []
    for name in (PLANNED, REACTIVE, SLOW):
        days = [row[name] for row in rows]
        cost = sum(day.usd / day.expected_usd for day in days) / len(days)
        found.append([
            name, f"{sum(day.met for day in days)} of {len(days)}", f"{min(day.within for day in days):.1%}",
            f"{sum(day.flaps for day in days)}", f"{sum(day.ups for day in days)}", f"{cost:.2f}",
        ])  # fmt: skip
    return found


def misses(rows: Rows, variant: str) -> list[str]:
    """Return one line for each plan that misses an objective over the day or flaps, the worst first."""
    run = [row[variant] for row in rows if variant in row]
    days = [day for day in run if not day.met or (variant != LOSS and day.flaps)]
    days.sort(key=lambda day: (-max(day.ttft_share, day.tpot_share), day.name))
    return [
        f"- {day.name} ({day.what}): {day.within:.1%} within, TTFT p95 {day.ttft_share:.2f} and TPOT p95 "
        f"{day.tpot_share:.2f} of the objective, {day.flaps} flaps"
        for day in days
    ]


def document(rows: Rows) -> str:
    """Return the whole page."""
    said = [[one.promise, one.measured, "yes" if one.kept else "**no**"] for one in promises(rows)]
    heads = ("variant", "plans that meet both p95", "least share of calls within", "flaps", "scale-ups", "cost")
    parts = [
        introduction(),
        "## What is promised\n",
        table(("promise", "measured", "kept"), said),
        f"![a day of {DRAWN[1]} of {DRAWN[0]}]({PICTURE})\n",
        "## Day by day\n",
        table(HEADS, [_cells(row[PLANNED]) for row in rows]),
        "Misses over the day:\n\n" + ("\n".join(misses(rows, PLANNED)) or "- none") + "\n",
        "## Losses\n",
        LOSSES,
        table(LOSS_HEADS, [_loss_cells(row[LOSS]) for row in rows if LOSS in row]),
        "## The same days otherwise\n",
        OTHERWISE,
        table(heads, _variants(rows)),
        *(
            f"{name}, misses and flaps:\n\n" + ("\n".join(misses(rows, name)) or "- none") + "\n"
            for name in (REACTIVE, SLOW)
        ),
    ]
    return "\n".join(parts)


def summary(rows: Rows) -> str:
    """Return the table for a terminal."""
    lines = []
    for row in rows:
        day = row[PLANNED]
        lines.append(
            f"{day.name:14} {day.what[:44]:44} {day.replicas:12} within {day.within:7.2%} TTFT {day.ttft_share:5.2f} "
            f"TPOT {day.tpot_share:5.2f} ups {day.ups:3} flaps {day.flaps:2} mean {day.mean_replicas:6.2f} "
            f"USD/h {day.usd:7.2f} of {day.usd_bounds}"
        )
    lines += [" | ".join(cells) for cells in _variants(rows)]
    lines += [
        line for name in (PLANNED, LOSS, REACTIVE, SLOW) for line in [f"{name}, misses and flaps:", *misses(rows, name)]
    ]
    lines += [f"{'kept' if one.kept else 'NOT'}: {one.promise}: {one.measured}" for one in promises(rows)]
    return "\n".join(lines)
