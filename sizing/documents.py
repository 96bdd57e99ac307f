"""Figures, intervals and bounds as JSON, rounded one way for every document that is printed."""

from __future__ import annotations

from collections.abc import Sequence

from sizing.plan import Bounds, Figure, Interval

Document = dict[str, object]


def interval_document(interval: Interval, digits: int = 2) -> Document:
    """Return p10, p50, p90."""
    return {
        "p10": round(interval.p10, digits),
        "p50": round(interval.p50, digits),
        "p90": round(interval.p90, digits),
    }


def bounds_document(bounds: Bounds, digits: int = 4) -> Document:
    """Return floor, expected, ceiling."""
    return {
        "floor": round(bounds.floor, digits),
        "expected": round(bounds.expected, digits),
        "ceiling": round(bounds.ceiling, digits),
    }


def figure_documents(
    figures: Sequence[Figure], *, digits: int | None = None, inputs_as_made: bool = False
) -> list[Document]:
    """Return the explanation: one object for each figure, rounded to ``digits`` where a document states them.

    Inputs are sorted by name, except ``inputs_as_made`` in the order of their formula.
    """

    def rounded(value: float | str) -> float | str:
        return round(value, digits) if digits is not None and isinstance(value, float) else value

    ordered = list if inputs_as_made else sorted
    return [
        {
            "name": figure.name,
            "value": rounded(figure.value),
            "unit": figure.unit,
            "rule": figure.rule,
            "inputs": {key: rounded(figure.inputs[key]) for key in ordered(figure.inputs)},
            "source": figure.source,
        }
        for figure in figures
    ]
