"""Figures of a running replica against those of its plan: which differ beyond noise, and in which words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizing.inputs import ModelEntry
from sizing.observe.running import Running
from sizing.plan import ServingPlan

DIFFERS = 0.05
PREFIX_DIFFERS = 0.05
"""Prefix shares are compared as they are, not by their ratio: planned is often 0."""
NOISE = 1.645
"""Standard deviations of a count within which a planned rate is not contradicted (90 % of Poisson counts)."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure, planned and measured; ``effect`` is what it alone changes on the planned machines."""

    name: str
    unit: str
    planned: float | None
    measured: float | None
    differs: bool = False
    sentence: str = ""
    effect: str = ""

    @property
    def more(self) -> bool:
        """True where it differs upwards."""
        return self.differs and self.measured is not None and self.measured > (self.planned or 0.0)


def length_findings(entry: ModelEntry, figures: Running) -> list[Finding]:
    """Return input and output tokens and prefix share against the workload."""
    workload = entry.workload
    found = []
    for name, label, planned, measured in (
        ("input_tokens", "input tokens are", workload.input_tokens, figures.input_tokens),
        ("output_tokens", "output tokens are", workload.output_tokens, figures.output_tokens),
    ):
        differs = measured is not None and abs(measured / planned - 1) > DIFFERS
        sentence = f"{label} {measured:,.0f}, planned {planned:,}" if differs else ""
        found.append(
            Finding(name=name, unit="tokens", planned=planned, measured=measured, differs=differs, sentence=sentence)
        )
    share = figures.prefix_share
    differs = share is not None and abs(share - workload.prefix_share) > PREFIX_DIFFERS
    sentence = f"prefix share is {share:.2f}, planned {workload.prefix_share:g}" if differs else ""
    found.append(
        Finding(
            name="prefix_share", unit="share", planned=workload.prefix_share, measured=share, differs=differs,
            sentence=sentence,
        )
    )  # fmt: skip
    return found


def rate_finding(entry: ModelEntry, figures: Running, count: int) -> Finding:
    """Return the traffic of ``count`` replicas like the one that was read against requestsPerSecond."""
    planned, rate = entry.workload.requests_per_second, figures.requests_per_s
    measured = None if rate is None else rate * count
    differs = False
    if measured is not None and figures.seconds:
        expected = planned / count * figures.seconds
        noise = NOISE * math.sqrt(max(expected, 1.0))
        differs = abs(figures.requests - expected) > noise and abs(measured / planned - 1) > DIFFERS
    sentence = f"traffic is {_shown(measured)} requests/s, planned {planned:g}" if differs else ""
    alike = measured is None or abs(measured / planned - 1) <= DIFFERS
    effect = "" if differs or alike else f"within the noise of {figures.requests:,} requests"
    return Finding(
        name="requests_per_second", unit="requests/s", planned=planned, measured=measured, differs=differs,
        sentence=sentence,
        effect=effect,
    )  # fmt: skip


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def latency_findings(entry: ModelEntry, plan: ServingPlan, figures: Running) -> list[Finding]:
    """Return both latencies against the objectives, with the prediction."""
    found = []
    wanted = entry.objectives
    for name, label, promised, expected, measured in (
        ("ttft_p95_ms", "TTFT p95", wanted.ttft_p95_ms, plan.ttft_p95_ms, figures.ttft_p95_ms),
        ("tpot_p95_ms", "TPOT p95", wanted.tpot_p95_ms, plan.tpot_p95_ms, figures.tpot_p95_ms),
    ):
        missed = measured is not None and measured > promised
        sentence = f"{label} is {measured:,.0f} ms, promised {promised:g}, predicted {expected:,.0f}" if missed else ""
        found.append(
            Finding(
                name=name,
                unit="ms",
                planned=promised,
                measured=measured,
                differs=missed,
                sentence=sentence,
                effect="" if missed or measured is None else "promise kept",
            )
        )
    return found


def cache_finding(plan: ServingPlan, tokens: int | None) -> Finding:
    """Return the tokens that the cache holds against the estimate."""
    planned = plan.memory.kv_tokens
    differs = tokens is not None and planned > 0 and abs(tokens / planned - 1) > DIFFERS
    sentence = ""
    if differs and tokens is not None:
        way = "above" if tokens > planned else "below"
        sentence = f"KV tokens are {abs(tokens / planned - 1) * 100:.0f} % {way} the plan"
    return Finding(
        name="kv_tokens", unit="tokens", planned=planned, measured=tokens, differs=differs, sentence=sentence
    )


def gauges(plan: ServingPlan, figures: Running) -> list[Finding]:
    """Return what is so now; never a reason by itself."""
    rows = (
        ("running", "requests", plan.throughput.concurrency, float(figures.running)),
        ("waiting", "requests", None, float(figures.waiting)),
        ("kv_cache_usage", "share", plan.scaling.kv_cache_usage, figures.kv_cache_usage),
    )
    return [Finding(name=name, unit=unit, planned=planned, measured=measured) for name, unit, planned, measured in rows]
