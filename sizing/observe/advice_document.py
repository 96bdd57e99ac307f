"""The document of ``tonnage advise``, and what a proposed entry changes in the words of the stack file."""

from __future__ import annotations

from dataclasses import asdict

from sizing.inputs import ModelEntry
from sizing.observe.advice import Advice, Side
from sizing.observe.advice_findings import Finding

ADVICE_SCHEMA = 1
"""Version of the document; a key is never renamed or removed within one."""


def changed_keys(before: object, after: object, path: str = "") -> list[tuple[str, object, object]]:
    """Return (key, before, after) of what differs between two entries in the words of the stack file."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        pairs = [(f"{path}.{key}" if path else str(key), before.get(key), after.get(key)) for key in keys]
        return [row for key, one, other in pairs for row in changed_keys(one, other, key)]
    if isinstance(after, dict):
        return changed_keys({}, after, path)
    return [] if before == after else [(path, before, after)]


def entry_document(entry: ModelEntry) -> dict[str, object]:
    """Return an entry as its stack file states it: its own keys, only those that are stated."""
    return {key: _plain(value) for key, value in entry.model_dump(by_alias=True, exclude_unset=True).items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def advice_document(advice: Advice) -> dict[str, object]:
    """Return the stable JSON document of ``tonnage advise``."""
    figures, answer = advice.running, advice.answer
    before, after = entry_document(advice.entry), entry_document(answer.entry)
    return {
        "schema": ADVICE_SCHEMA,
        "stack": advice.stack,
        "model": advice.entry.name,
        "source": figures.source,
        "advice": "change" if answer.change else "keep",
        "reasons": list(answer.reasons),
        "saving_usd_per_month": _at(answer.saving),
        "findings": [_finding_document(one) for one in advice.findings],
        "planned": _side_document(answer.planned),
        "kept": _side_document(answer.kept),
        "proposed": _side_document(answer.proposed),
        "budget": {"monthly_usd": advice.budget_usd, "smallest_monthly_usd": answer.smallest_budget_usd},
        "entry": before,
        "proposed_entry": after,
        "changes": [{"key": key, "from": one, "to": other} for key, one, other in changed_keys(before, after)],
        "measured": {
            "requests": figures.requests,
            "seconds": _at(figures.seconds),
            "rate_of": figures.rate_of,
            "judged_requests": figures.judged_requests,
            "replicas": advice.replicas_running,
            "preemptions": figures.preemptions,
        },
        "notes": list(advice.notes),
    }


def _at(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)


def _finding_document(one: Finding) -> dict[str, object]:
    return {
        "name": one.name,
        "unit": one.unit,
        "planned": _at(one.planned, 4),
        "measured": _at(one.measured, 4),
        "differs": one.differs,
        "effect": one.effect,
    }


def _side_document(side: Side | None) -> dict[str, object] | None:
    if side is None:
        return None
    return {
        "name": side.name,
        "replicas": asdict(side.replicas),
        "usd_per_month": {key: round(value, 2) for key, value in asdict(side.usd_per_month).items()},
    }
