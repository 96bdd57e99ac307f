"""How far predictions of throughput and latency lie from measurements: p10 to p90, and the margin that plans keep."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sizing.performance.constants import throughput_constants
from sizing.performance.roofline import StepWork
from sizing.plan import Interval
from sizing.workload.lengths import NORMAL_P90, NORMAL_P95


def spread_of(work: StepWork) -> Mapping[str, Mapping[str, float]]:
    """Return the factors from a prediction to p10 and p90 by measure, for models and widths of this kind."""
    by_kind: Mapping[str, Mapping[str, Mapping[str, float]]] = throughput_constants()["spread"]
    kind = "experts" if work.experts else "dense, TP >= 2" if work.gpus > 1 else "dense, one GPU"
    return by_kind[kind]


def error_margin(work: StepWork, measure: str, *, p95: float, mean: float) -> float:
    """Return the factor from the 95th percentile over requests to that over requests of all deployments.

    The error of a prediction differs from deployment to deployment, as ``spread_of`` says: a log-normal. Requests
    differ within one, from ``mean`` to ``p95``. Both are independent, so their logarithms add like sides of a triangle,
    and where requests differ much the error adds little. A bias in our favour is not taken.
    """
    factors = spread_of(work)[measure]
    requests = math.log(max(p95 / mean, 1.0)) / NORMAL_P95 if math.isfinite(p95) else 0.0
    errors = math.log(factors["p90"] / factors["p10"]) / (2 * NORMAL_P90)
    bias = max(math.sqrt(factors["p90"] * factors["p10"]), 1.0)
    return bias * math.exp(NORMAL_P95 * (math.hypot(requests, errors) - requests))


def interval(work: StepWork, measure: str, value: float) -> Interval:
    """Widen a prediction by the spread of the residuals of ``measure`` (output_tok_s, tpot_ms, ttft_ms)."""
    factors = spread_of(work)[measure]
    return Interval(p10=value * factors["p10"], p50=value, p90=value * factors["p90"])
