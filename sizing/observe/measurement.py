"""Predicted against measured, term by term, and the document of ``tonnage measure``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sizing.observe.measured import TERMS, Measured
from sizing.observe.prediction import Prediction
from sizing.observe.verdict import Term, Verdict, judge
from sizing.plan import Interval

CAPACITIES = ("kv_cache_gib", "kv_tokens")
MEASURE_SCHEMA = 1
"""Version of the document; a key is never renamed or removed within one."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A comparison with everything that led to it."""

    measured: Measured
    prediction: Prediction
    terms: tuple[Term, ...]
    verdict: Verdict
    notes: tuple[str, ...]


def measure(measured: Measured, prediction: Prediction) -> Measurement:
    """Compare one running engine with what was expected of it."""
    terms = _terms(measured, prediction)
    verdict = judge(measured, prediction, {term.name: term for term in terms})
    return Measurement(
        measured=measured,
        prediction=prediction,
        terms=terms,
        verdict=verdict,
        notes=(*prediction.notes, *measured.notes, *_surplus(terms)),
    )


def _terms(measured: Measured, prediction: Prediction) -> tuple[Term, ...]:
    memory, terms = prediction.memory, measured.terms
    spread = memory.kv_cache_gib_interval
    same_length = measured.settings.get("max_model_len", prediction.engine.max_model_len)
    comparable = same_length == prediction.engine.max_model_len
    graphs = terms.get("cuda_graph_gib")
    if measured.graphs_in_budget is not False:
        graphs = terms.get("cuda_graph_estimate_gib", graphs)
    tokens, requests = (float(memory.kv_tokens), memory.max_concurrency) if comparable else (None, None)
    return (
        *(_gib(name, getattr(memory, name), terms.get(name)) for name in TERMS),
        _gib("cuda_graph_gib", memory.cuda_graph_gib, graphs),
        _gib("kv_cache_gib", memory.kv_cache_gib, terms.get("kv_cache_gib"), spread),
        Term(name="kv_tokens", unit="tokens", predicted=tokens, interval=_scaled(tokens, spread),
             measured=None if measured.kv_tokens is None else float(measured.kv_tokens)),
        Term(name="max_concurrency", unit="requests", predicted=requests, interval=_scaled(requests, spread),
             measured=measured.max_concurrency),
    )  # fmt: skip


def _gib(name: str, predicted: float, measured: float | None, interval: Interval | None = None) -> Term:
    return Term(name=name, unit="GiB", predicted=predicted, measured=measured, interval=interval)


def _scaled(value: float | None, cache: Interval) -> Interval | None:
    """Return the spread of a capacity: tokens are proportional to the cache."""
    if value is None or cache.p50 <= 0:
        return None
    low, high = (max(bound, 0.0) / cache.p50 for bound in (cache.p10, cache.p90))
    return Interval(p10=value * low, p50=value, p90=value * high)


def _surplus(terms: Sequence[Term]) -> list[str]:
    """Say when the cache is beyond its p90, in GiB or else in tokens."""
    for term in terms:
        above = term.interval is not None and term.measured is not None and term.measured > term.interval.p90
        if term.name in CAPACITIES and above and (more := term.difference) is not None:
            digits = 2 if term.unit == "GiB" else 0
            return [f"the KV cache is {more:,.{digits}f} {term.unit} larger than estimated: nothing has to change"]
    return []


def measurement_document(measurement: Measurement) -> dict[str, object]:
    """Return the stable JSON document of ``tonnage measure``: GiB per GPU, tokens and requests over one engine."""
    measured, prediction = measurement.measured, measurement.prediction
    engine = asdict(prediction.engine)
    return {
        "schema": MEASURE_SCHEMA,
        "model": prediction.model,
        "gpu": prediction.gpu,
        "stack": prediction.stack,
        "source": measured.source,
        "started": measured.started,
        "fits": prediction.memory.fits,
        "change": measurement.verdict.change,
        "reasons": list(measurement.verdict.reasons),
        "actions": list(measurement.verdict.actions),
        "terms": [_term_document(term) for term in measurement.terms],
        "ranks": [_rounded(asdict(rank)) for rank in measured.ranks],
        "seconds": dict(sorted(measured.seconds.items())),
        "load": _rounded(asdict(measured.load)) if measured.load is not None else None,
        "failures": [asdict(failure) for failure in measured.failures],
        "notes": list(measurement.notes),
        "inputs": {
            "gpu": {"value": prediction.gpu, "source": prediction.gpu_source},
            "gpu_total_gib": {"value": round(prediction.memory.total_gib, 3), "source": prediction.total_source},
        }
        | {name: {"value": engine[name], "source": prediction.sources[name]} for name in sorted(prediction.sources)
           if name in engine},
    }  # fmt: skip


def _term_document(term: Term) -> dict[str, object]:
    digits = 3 if term.unit != "tokens" else 0
    spread = term.interval
    return {
        "name": term.name,
        "unit": term.unit,
        "predicted": _at(term.predicted, digits),
        "measured": _at(term.measured, digits),
        "difference": _at(term.difference, digits),
        "error": _at(term.error, 4),
        "p10": _at(spread.p10, digits) if spread else None,
        "p90": _at(spread.p90, digits) if spread else None,
        "inside": term.inside,
    }


def _at(value: float | None, digits: int) -> float | int | None:
    if value is None:
        return None
    return round(value, digits) if digits else round(value)


def _rounded(values: Mapping[str, object]) -> dict[str, object]:
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, 4) if isinstance(value, float) else value
        for key, value in values.items()
    }
