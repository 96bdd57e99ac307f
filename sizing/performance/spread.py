"""How far predictions of throughput and latency lie from measurements: p10 to p90, and the margin that plans keep.

    interval = prediction x (p10, 1, p90)
    errors   = ln(p90 / p10) / (2 x 1.2816)        standard deviation of the logarithm of the prediction's error
    requests = ln(p95 / mean) / 1.645              the same of requests within one deployment
    margin   = max(sqrt(p10 p90), 1) x exp(1.645 (sqrt(requests^2 + errors^2) - requests))

p10 and p90 are factors of the residuals over a prediction, by kind of model. Errors and requests are independent
lognormals, so their deviations are added in quadrature: where requests differ much, the error adds little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sizing.performance.constants import throughput_constants
from sizing.performance.roofline import StepWork
from sizing.plan import Interval
from sizing.workload.lengths import NORMAL_P90, NORMAL_P95


def spread_of(work: StepWork) -> Mapping[str, Mapping[str, float]]:
    """Return p10 and p90 by measure, as factors of a prediction, for this kind of model and width."""
    by_kind: Mapping[str, Mapping[str, Mapping[str, float]]] = throughput_constants()["spread"]
    kind = "experts" if work.experts else "dense, TP >= 2" if work.gpus > 1 else "dense, one GPU"
    return by_kind[kind]


def error_margin(work: StepWork, measure: str, *, p95: float, mean: float) -> float:
    """Return ``margin``: from the 95th percentile over requests of one deployment to that over all deployments.

    A median error in our favour counts as none.
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
